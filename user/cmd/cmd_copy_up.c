// SPDX-License-Identifier: GPL-2.0-only
/* kunion copy-up: lower files up, now. */
#include <argp.h>
#include <fcntl.h>
#include <fts.h>
#include <limits.h>
#include <poll.h>
#include <search.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "cmd.h"
#include "copyup.h"
#include "event.h"
#include "log.h"
#include "session.h"
#include "util.h"

struct ku_cu {
	bool recursive, exclusive;
	const char *from; /* list of files, "-": stdin; NULL: none */
	char **paths;
	unsigned int npaths;
	struct ku_cu_set *sets; /* in the order in which their first file is named */
	struct ku_cu_progress pr;
};

static void ku_cu_bar(struct ku_cu_progress *pr, bool last)
{
	uint64_t now = ku_now_ns(), ms = (now - pr->start_ns) / 1000000 + 1;
	unsigned int full = pr->all_bytes ? (unsigned int)(pr->bytes * 30 / pr->all_bytes) : 30;

	if (!pr->tty || (!last && now - pr->shown_ns < 100000000))
		return;
	pr->shown_ns = now;
	fprintf(stderr, "\r[%.*s%*s] %zu/%zu files, %.1f of %.1f MiB, %.1f MiB/s ", (int)full, "##############################",
		(int)(30 - full), "", pr->files, pr->all_files, (double)pr->bytes / 1048576, (double)pr->all_bytes / 1048576,
		(double)pr->bytes / 1048.576 / (double)ms);
	if (last)
		fputc('\n', stderr);
}

void ku_cu_done(struct ku_cu_progress *pr, const struct ku_cu_set *set, struct ku_cu_file *f, bool by_kernel, int err)
{
	f->done = true;
	pr->files++;
	pr->bytes += f->size;
	if (err) {
		pr->failed++;
		ku_err("copy-up: %s%s: %s", set->u.path, f->path, strerror(-err));
	} else if (by_kernel) {
		pr->by_kernel++;
	} else {
		pr->by_kunion++;
	}
	ku_cu_bar(pr, false);
}

/* which files */

static char *ku_mountpoint_of(uint64_t mnt_id)
{
	_cleanup_fclose_ FILE *f = fopen("/proc/self/mountinfo", "re");
	_cleanup_free_ char *line = NULL;
	size_t room = 0;

	while (f && getline(&line, &room, f) > 0) {
		struct ku_mountinfo mi;
		char *found;

		if (ku_mountinfo_parse(line, &mi) || mi.id != mnt_id)
			continue;
		found = strdup(mi.mountpoint);
		if (found)
			ku_mount_unescape(found);
		return found;
	}
	return NULL;
}

/* The set of the union that mnt_id is the mount of, made if new. NULL with a line in err. */
static struct ku_cu_set *ku_cu_set_of(struct ku_cu *cu, const char *path, uint64_t mnt_id, char err[static 512])
{
	_cleanup_free_ char *mountpoint = NULL;
	struct ku_cu_set *set, **at;

	for (at = &cu->sets; (set = *at); at = &set->next)
		if (set->u.mnt_id == mnt_id)
			return set;
	mountpoint = ku_mountpoint_of(mnt_id);
	if (!mountpoint) {
		snprintf(err, 512, "%s: its mount is not in /proc/self/mountinfo", path);
		return NULL;
	}
	set = calloc(1, sizeof(*set));
	if (!set) {
		snprintf(err, 512, "out of memory");
		return NULL;
	}
	set->u.lock_fd = -1;
	if (ku_union_open(mountpoint, &set->u, err)) {
		free(set);
		return NULL;
	}
	*at = set;
	return set;
}

static int ku_cu_compare(const void *a, const void *b)
{
	return strcmp(a, b);
}

static void ku_cu_keep(void *path)
{
	(void)path; /* the file's own */
}

static int ku_cu_add(struct ku_cu *cu, struct ku_cu_set *set, const char *abs, uint64_t size)
{
	const char *path = strcmp(set->u.path, "/") ? abs + strlen(set->u.path) : abs;
	struct ku_cu_file *f;

	/* With metacopy an upper file may have its data below still. */
	if (!set->u.metacopy && ku_cu_is_upper(&set->u, path))
		return 0;
	/* One job a file, however often it is named. */
	if (tfind(path, &set->names, ku_cu_compare))
		return 0;
	if (set->nfiles == set->room) {
		size_t room = set->room ? set->room * 2 : 64;

		f = reallocarray(set->files, room, sizeof(*f));
		if (!f)
			return -ENOMEM;
		set->files = f;
		set->room = room;
	}
	f = &set->files[set->nfiles];
	*f = (struct ku_cu_file){ .path = strdup(path), .size = size };
	if (!f->path)
		return -ENOMEM;
	if (!tsearch(f->path, &set->names, ku_cu_compare)) {
		free(f->path);
		return -ENOMEM;
	}
	set->nfiles++;
	set->bytes += size;
	cu->pr.all_files++;
	cu->pr.all_bytes += size;
	return 0;
}

static int ku_cu_walk(struct ku_cu *cu, struct ku_cu_set *set, char *abs)
{
	char *argv[] = { abs, NULL };
	FTS *fts = fts_open(argv, FTS_PHYSICAL | FTS_NOCHDIR | FTS_XDEV, NULL);
	FTSENT *e;
	int err = 0;

	if (!fts)
		return -errno;
	while (!err && (errno = 0, e = fts_read(fts))) {
		if (e->fts_info == FTS_F && S_ISREG(e->fts_statp->st_mode))
			err = ku_cu_add(cu, set, e->fts_path, (uint64_t)e->fts_statp->st_size);
		else if (e->fts_info == FTS_DNR || e->fts_info == FTS_ERR || e->fts_info == FTS_NS)
			err = -e->fts_errno;
	}
	if (!err && errno)
		err = -errno;
	fts_close(fts);
	return err;
}

/* One PATH of the command line. 0, or -errno with a line in err. */
static int ku_cu_collect(struct ku_cu *cu, const char *path, char err[static 512])
{
	_cleanup_close_ int fd = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	char link[64], abs[PATH_MAX + 1];
	struct ku_cu_set *set;
	struct statx stx;
	ssize_t n;
	int r;

	if (fd < 0 || statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_MNT_ID, &stx)) {
		r = -errno;
		snprintf(err, 512, "%s: %s", path, strerror(-r));
		return r;
	}
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, abs, PATH_MAX);
	if (n < 0) {
		r = -errno;
		snprintf(err, 512, "%s: %s", path, strerror(-r));
		return r;
	}
	abs[n] = '\0';
	if (S_ISDIR(stx.stx_mode) && !cu->recursive) {
		snprintf(err, 512, "%s: is a directory; --recursive copies up what is in it", path);
		return -EISDIR;
	}
	if (!S_ISDIR(stx.stx_mode) && !S_ISREG(stx.stx_mode)) {
		snprintf(err, 512, "%s: neither a regular file nor a directory", path);
		return -EINVAL;
	}
	set = ku_cu_set_of(cu, path, stx.stx_mnt_id, err);
	if (!set)
		return -EINVAL;
	r = S_ISDIR(stx.stx_mode) ? ku_cu_walk(cu, set, abs) : ku_cu_add(cu, set, abs, stx.stx_size);
	if (r)
		snprintf(err, 512, "%s: %s", path, strerror(-r));
	return r;
}

/* One line of the list, without its end. What is wrong with it is said and counted; the rest goes on. */
static void ku_cu_listed(struct ku_cu *cu, char *line, unsigned long long number)
{
	char err[512] = "";

	if (!*line || *line == '#')
		return;
	ku_unescape_bytes(line);
	if (*line != '/')
		snprintf(err, sizeof(err), "'%s' is not an absolute path", line);
	else if (!ku_cu_collect(cu, line, err))
		return;
	ku_err("copy-up: %s:%llu: %s", strcmp(cu->from, "-") ? cu->from : "stdin", number, err);
	cu->pr.failed++;
}

/* As `kunion report --hydrate-list` prints it. Returns 0 or -errno. */
static int ku_cu_list(struct ku_cu *cu)
{
	_cleanup_fclose_ FILE *opened = strcmp(cu->from, "-") ? fopen(cu->from, "re") : NULL;
	FILE *f = strcmp(cu->from, "-") ? opened : stdin;
	_cleanup_free_ char *line = NULL;
	unsigned long long number = 0;
	size_t room = 0;
	ssize_t n;

	if (!f)
		return -errno;
	errno = 0;
	while ((n = getline(&line, &room, f)) > 0) {
		if (line[n - 1] == '\n')
			line[n - 1] = '\0';
		ku_cu_listed(cu, line, ++number);
		errno = 0;
	}
	return ferror(f) || !feof(f) ? -(errno ? errno : EIO) : 0;
}

/* how */

struct ku_cu_run {
	struct ku_cu *cu;
	struct ku_cu_set *set;
	size_t over;
};

static void ku_cu_on_done(void *arg, void *cookie, int result, bool by_kernel)
{
	struct ku_cu_run *run = arg;

	run->over++;
	ku_cu_done(&run->cu->pr, run->set, cookie, by_kernel, result);
}

/* Through a session of our own: the holder test decides, and whoever wants the file meanwhile waits as under `kunion run`. */
static bool ku_cu_session(struct ku_cu *cu, struct ku_cu_set *set, char err[static 512])
{
	struct ku_cu_run run = { .cu = cu, .set = set };
	/* Nobody else's copy-ups: only the files named. */
	struct ku_session_opts opts = { .mode = KU_MODE_MANAGE,
					.min_size = UINT64_MAX,
					.max_wait_ns = 30000000000ull,
					.own_done = ku_cu_on_done,
					.own_arg = &run };
	char *paths[] = { set->u.path };
	struct ku_session *s = ku_session_start(&opts, paths, 1, err);
	size_t next = 0;

	if (!s)
		return false;
	while (run.over < set->nfiles) {
		struct pollfd pfd = { .fd = ku_session_fd(s), .events = POLLIN };
		int wait;

		while (next < set->nfiles && !ku_session_submit(s, 0, set->files[next].path, &set->files[next]))
			next++;
		wait = ku_session_turn(s);
		if (wait < -1)
			break;
		if (run.over < set->nfiles)
			poll(&pfd, 1, wait < 0 || wait > 100 ? 100 : wait);
	}
	ku_session_end(s);
	return true;
}

static void ku_cu_by_kernel(struct ku_cu *cu, struct ku_cu_set *set)
{
	for (size_t i = 0; i < set->nfiles; i++)
		if (!set->files[i].done)
			ku_cu_done(&cu->pr, set, &set->files[i], true, ku_cu_kernel(&set->u, set->files[i].path));
}

static int ku_cu_work(struct ku_cu *cu)
{
	char err[512] = "";

	cu->pr.start_ns = ku_now_ns();
	cu->pr.tty = isatty(STDERR_FILENO);
	for (struct ku_cu_set *set = cu->sets; set; set = set->next) {
		if (!set->nfiles)
			continue;
		if (cu->exclusive) {
			if (ku_cu_exclusive(set, &cu->pr, err)) {
				ku_err("copy-up: %s", err);
				return KU_EXIT_USAGE;
			}
			continue;
		}
		/* Attached already: opening for writing goes through that kunion's gate. No BPF: the kernel's own way. */
		if (!ku_cu_session(cu, set, err))
			ku_info("copy-up: %s; opening for writing instead", err);
		ku_cu_by_kernel(cu, set);
	}
	ku_cu_bar(&cu->pr, true);
	fprintf(stderr, "kunion: %zu files copied up (%zu by kunion, %zu by the kernel), %zu failed\n",
		cu->pr.by_kunion + cu->pr.by_kernel, cu->pr.by_kunion, cu->pr.by_kernel, cu->pr.failed);
	return cu->pr.failed ? KU_EXIT_FAIL : KU_EXIT_OK;
}

static const struct argp_option ku_cu_options[] = {
	{ "recursive", 'r', NULL, 0, "what is in directories too (in one mount)", 0 },
	{ "from", 'f', "LIST|-", 0, "the files that LIST names, one a line, in that order: what 'kunion report --hydrate-list' prints", 0 },
	{ "exclusive", 'x', NULL, 0, "nobody uses the union yet: no holder test, and many files share one flush", 0 },
	{ "verbose", 'v', NULL, 0, "say more on stderr", 0 },
	{ 0 },
};

static error_t ku_cu_parse(int key, char *arg, struct argp_state *state)
{
	struct ku_cu *cu = state->input;

	switch (key) {
	case 'r':
		cu->recursive = true;
		return 0;
	case 'f':
		cu->from = arg;
		return 0;
	case 'x':
		cu->exclusive = true;
		return 0;
	case 'v':
		ku_log_set_level(KU_LOG_INFO);
		return 0;
	case ARGP_KEY_ARG:
		cu->paths[cu->npaths++] = arg;
		return 0;
	case ARGP_KEY_END:
		if (!cu->npaths && !cu->from)
			argp_error(state, "no PATH: name files in an overlay's merged directory, or --from LIST");
		return 0;
	}
	return ARGP_ERR_UNKNOWN;
}

static void ku_cu_free(struct ku_cu *cu)
{
	while (cu->sets) {
		struct ku_cu_set *set = cu->sets;

		cu->sets = set->next;
		tdestroy(set->names, ku_cu_keep);
		for (size_t i = 0; i < set->nfiles; i++)
			free(set->files[i].path);
		free(set->files);
		ku_union_close(&set->u);
		free(set);
	}
	free(cu->paths);
}

int ku_cmd_copy_up(int argc, char **argv)
{
	static const struct argp argp = {
		.options = ku_cu_options,
		.parser = ku_cu_parse,
		.args_doc = "[PATH...]",
		.doc = "Copy lower files of overlay mounts up now. Files already in the upper layer are skipped.\v"
		       "Where BPF allows, a file that nobody holds is copied by kunion and all others by the kernel; without BPF all by "
		       "the kernel.\nExit status: 0 all are up, 1 some failed, 2 nothing was done.",
	};
	char name[] = "kunion copy-up", err[512] = "";
	struct ku_cu cu = { 0 };
	int status = KU_EXIT_USAGE, r;

	argp_err_exit_status = KU_EXIT_USAGE;
	cu.paths = calloc((size_t)argc + 1, sizeof(*cu.paths));
	if (!cu.paths) {
		ku_err("out of memory");
		return KU_EXIT_USAGE;
	}
	argv[0] = name;
	ku_log_libbpf(true);
	argp_parse(&argp, argc, argv, 0, NULL, &cu);
	if (geteuid()) {
		ku_err("copy-up: needs root");
		goto out;
	}
	for (unsigned int i = 0; i < cu.npaths; i++)
		if (ku_cu_collect(&cu, cu.paths[i], err)) {
			ku_err("copy-up: %s", err);
			goto out;
		}
	r = cu.from ? ku_cu_list(&cu) : 0;
	if (r) {
		ku_err("copy-up: %s: %s", cu.from, strerror(-r));
		goto out;
	}
	status = ku_cu_work(&cu);
out:
	ku_cu_free(&cu);
	return status;
}
