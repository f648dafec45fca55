// SPDX-License-Identifier: GPL-2.0-only
#include "event_file.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "log.h"
#include "util.h"

#define KU_CHUNK 65536u
/* An event has three paths at most, each byte of which may take five in JSON: nothing near this. */
#define KU_LINE_MAX (1u << 20)

struct ku_event_file {
	const char *name, *word;
	void (*fn)(void *arg, const struct ku_event *e);
	void *arg;
	int fd, err;
	bool own;
	bool skipping; /* in a line that is too long */
	char buf[KU_LINE_MAX + KU_CHUNK];
	size_t len; /* of a line without its end yet */
	unsigned long long line, events, bad;
};

int ku_event_file_open(const char *file, const char *word, void (*fn)(void *arg, const struct ku_event *e), void *arg,
		       struct ku_event_file **ret)
{
	bool own = strcmp(file, "-") != 0;
	/* O_NONBLOCK: a FIFO without a writer is no reason to hang before the signals are looked at. */
	_cleanup_close_ int opened = own ? open(file, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK) : -1;
	int fd = own ? opened : STDIN_FILENO;
	struct ku_event_file *f;
	struct stat st;

	if (fd < 0 || fstat(fd, &st))
		return -errno;
	if (S_ISDIR(st.st_mode))
		return -EISDIR;
	f = calloc(1, sizeof(*f));
	if (!f)
		return -ENOMEM;
	f->name = own ? file : "stdin";
	f->word = word;
	f->fn = fn;
	f->arg = arg;
	f->fd = fd;
	f->own = own;
	ku_take_fd(&opened);
	*ret = f;
	return 0;
}

int ku_event_file_fd(const struct ku_event_file *f)
{
	return f->fd;
}

static void ku_event_file_bad(struct ku_event_file *f)
{
	if (!f->bad++)
		ku_warn("%s: %s:%llu: no event line; left out", f->word, f->name, f->line);
}

/* A line whose end is a NUL now. */
static void ku_event_file_line(struct ku_event_file *f, const char *line, size_t len)
{
	struct ku_event *e;
	int r;

	f->line++;
	if (strspn(line, " \t\r") == len)
		return;
	r = strlen(line) == len ? ku_event_parse(line, &e) : -EINVAL;
	if (r == -ENOMEM)
		f->err = r;
	if (r) {
		ku_event_file_bad(f);
		return;
	}
	f->events++;
	f->fn(f->arg, e);
	ku_event_free(e);
}

/* All whole lines in the buffer; with last, what has no end too. */
static void ku_event_file_lines(struct ku_event_file *f, bool last)
{
	char *at = f->buf, *end = f->buf + f->len, *nl;

	while ((nl = memchr(at, '\n', (size_t)(end - at)))) {
		*nl = '\0';
		if (!f->skipping)
			ku_event_file_line(f, at, (size_t)(nl - at));
		f->skipping = false;
		at = nl + 1;
	}
	f->len = (size_t)(end - at);
	memmove(f->buf, at, f->len);
	if (last && f->len && !f->skipping) {
		f->buf[f->len] = '\0';
		ku_event_file_line(f, f->buf, f->len);
	} else if (f->len >= KU_LINE_MAX) {
		if (!f->skipping) {
			f->line++;
			ku_event_file_bad(f);
		}
		f->skipping = true;
		f->len = 0;
	}
}

bool ku_event_file_read(struct ku_event_file *f)
{
	/* One byte stays for the NUL of a last line without an end. */
	ssize_t n = read(f->fd, f->buf + f->len, sizeof(f->buf) - f->len - 1);

	if (n < 0) {
		if (errno == EAGAIN || errno == EINTR)
			return true;
		f->err = -errno;
		return false;
	}
	f->len += (size_t)n;
	ku_event_file_lines(f, n == 0);
	return n > 0 && !f->err;
}

int ku_event_file_close(struct ku_event_file *f)
{
	int r = f->err;

	if (r)
		ku_err("%s: %s: %s", f->word, f->name, strerror(-r));
	else if (f->bad && !f->events)
		ku_err("%s: %s: no line of it is an event; 'kunion run --events FILE' and 'kunion trace --json' write such lines", f->word,
		       f->name);
	else if (f->bad > 1)
		ku_warn("%s: %s: %llu lines were left out", f->word, f->name, f->bad);
	if (!r && f->bad && !f->events)
		r = -EINVAL;
	if (f->own)
		close(f->fd);
	free(f);
	return r;
}
