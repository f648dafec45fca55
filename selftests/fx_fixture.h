/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What all VM tests share: layers, the overlay mount, kunion attached to it, stop points, calls that run beside the test, event
 * lines. A test:
 *
 *	KTAP_TEST(name)
 *	{
 *		struct fx fx;
 *		struct fx_op op;
 *
 *		fx_init(&fx, NULL);			private mount namespace, layers on tmpfs
 *		fx_lower(&fx, "d/f", FX_MB(2), 0644);	a stamped lower file
 *		fx_mount(&fx);
 *		fx_attach(&fx, NULL);			kunion run; skips the test where manage does not work
 *		fx_needs(&fx, FX_TIER_PARK);
 *		fx_stop_arm(&fx, "copying");
 *		fx_call_start(&op, FX_CALL(FX_CHMOD, fx_path(&fx, "d/f"), .mode = 0600));
 *		fx_stop_wait(&fx, "copying", FX_LONG);	kunion is there now
 *		KTAP_CHECK(!fx_op_done(&op));
 *		fx_stop_go(&fx, "copying");
 *		KTAP_CHECK(fx_op_wait(&op, FX_LONG) && op.res->err == 0);
 *		fx_end(&fx);				detach, lower unchanged, no temporaries, unmount
 *	}
 *
 * What goes wrong in the fixture itself (a stop point not reached, kunion ended, a call that never returns) is a failed check, named with
 * the test's line, and ends the test.
 */
#ifndef FX_FIXTURE_H
#define FX_FIXTURE_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>

#define FX_DIR "/tmp/kunion-fx" /* everything is mounted below it, in the test's own namespace */
#define FX_PATH_MAX 256
#define FX_BLOCK 4096
#define FX_KB(n) ((off_t)(n) << 10)
#define FX_MB(n) ((off_t)(n) << 20)
/* Milliseconds to wait for what must come, under emulation; never waited out when all is well. */
#define FX_LONG 20000

enum fx_tier { FX_TIER_NONE, FX_TIER_OBSERVE, FX_TIER_WAIT_OPEN, FX_TIER_PARK };

/* Layers and mount; all zero is tmpfs, and upper and lower on the same one. */
struct fx_opts {
	const char *upper_fs, *lower_fs; /* "tmpfs", "ext4", "xfs", "btrfs"; lower_fs NULL: upper's */
	off_t upper_size;		 /* bytes of that file system, 0: ample */
	const char *mkfs_args;		 /* for upper's, e.g. "-m 40" */
	const char *mount_opts;		 /* overlay options behind lowerdir, upperdir and workdir */
	bool kernel;			 /* the yardstick: fx_attach() and the stop points do nothing */
};

struct fx {
	struct fx_opts opts;
	char upper_base[FX_PATH_MAX], lower_base[FX_PATH_MAX];
	char lower[FX_PATH_MAX], upper[FX_PATH_MAX], work[FX_PATH_MAX], merged[FX_PATH_MAX];
	char events[FX_PATH_MAX], log[FX_PATH_MAX], stop[FX_PATH_MAX];
	uint64_t lower_sum;
	bool mounted;
	pid_t kunion; /* 0: not attached */
	enum fx_tier tier;
	unsigned int strangers; /* kunion processes that are not ours */
};

/*
 * At the top of a test program that is not about observation. FX_LEAN: kunion goes without the observing programs that only add to what is told of
 * the kernel's copy-ups. FX_BARE: without any, so that events tell of its own only. Attaching them takes half of the time of such a test.
 */
extern const char *fx_left_out;
#define FX_LEAN FX_LEAVE_OUT("observe-details")
#define FX_BARE FX_LEAVE_OUT("observer")
#define FX_LEAVE_OUT(part)                                           \
	__attribute__((constructor)) static void fx_leave_out(void) \
	{                                                            \
		fx_left_out = (part);                                \
	}

/* Setting up (fx_fixture.c) */

void fx_init(struct fx *fx, const struct fx_opts *opts);
/* A lower file of stamped blocks (size is rounded up to whole ones), parents made; its stamp is fx_id(name). */
void fx_lower(struct fx *fx, const char *name, off_t size, mode_t mode);
/* The same with another stamp. */
void fx_lower_as(struct fx *fx, const char *name, uint32_t id, off_t size, mode_t mode);
void fx_mount(struct fx *fx);
/* The union's unmounting must succeed at once. */
void fx_umount(struct fx *fx);
/* Detaches, checks fx_lower_unchanged() and fx_no_temps(), unmounts all: the same test may fx_init() again. */
void fx_end(struct fx *fx);
/* Kernel of the machine is at least major.minor. */
bool fx_kernel_since(unsigned int major, unsigned int minor);
/* A command by way of the shell; its status must be 0. */
__attribute__((format(printf, 1, 2))) void fx_sh(const char *fmt, ...);

/* A name put together, in memory that lasts as long as the test. */
__attribute__((format(printf, 1, 2))) const char *fx_name(const char *fmt, ...);
/* Paths: "MERGED/name", "UPPER/name", "LOWER/name", likewise. */
const char *fx_path(const struct fx *fx, const char *name);
const char *fx_upath(const struct fx *fx, const char *name);
const char *fx_lpath(const struct fx *fx, const char *name);

/* Contents and outcomes (fx_file.c) */

uint32_t fx_id(const char *name);
/* Writes block number nr with stamp id at its place. 0 or -errno. */
int fx_put_block(int fd, uint32_t id, uint64_t nr);
/* The stamp of block nr; 0: torn, or none of ours. */
uint32_t fx_get_block(int fd, uint64_t nr);
/* Is it exactly size bytes of blocks stamped id? Otherwise a diagnosis. */
bool fx_verify_fd(int fd, uint32_t id, off_t size);
bool fx_verify(const char *path, uint32_t id, off_t size);
uint64_t fx_hash_fd(int fd);
/* Hash of names, attributes, xattrs and contents of a tree, without access times. */
uint64_t fx_tree_sum(const char *dir);
bool fx_lower_unchanged(struct fx *fx);
/* No name with kunion's prefix in merged, upper, work. */
bool fx_no_temps(const struct fx *fx);
bool fx_exists(const char *path);
bool fx_is_whiteout(const struct fx *fx, const char *name);
bool fx_in_upper(const struct fx *fx, const char *name);
/* Free bytes of the upper file system. */
uint64_t fx_upper_free(const struct fx *fx);

/* All that is to be compared between the kernel alone and kunion. */
struct fx_outcome {
	int err[4]; /* of the calls, filled in by the test */
	bool merged, upper, whiteout;
	mode_t mode;
	uid_t uid;
	off_t size;
	uint64_t hash;
};

void fx_look(const struct fx *fx, const char *name, struct fx_outcome *o);
bool fx_outcome_equal(const struct fx_outcome *a, const struct fx_outcome *b);
void fx_outcome_show(const char *what, const struct fx_outcome *o);

/* kunion (fx_run.c) */

/* kunion run --events .. --min-size 64K [ARG.. up to NULL] MERGED; back once attached. */
void fx_attach(struct fx *fx, ...);
/* SIGINT; exit status 0, and no process and no mount of kunion left. */
void fx_detach(struct fx *fx);
void fx_kill(struct fx *fx);
/* Skips the test on lower tiers. Before fx_attach(), where it saves time, only if an earlier attachment has found the tier. */
void fx_needs(const struct fx *fx, enum fx_tier tier);
/* Skips it on this tier and higher ones; likewise. */
void fx_below(const struct fx *fx, enum fx_tier tier);
/* kunion's stderr so far, to be freed. */
char *fx_log_text(const struct fx *fx);
unsigned int fx_kunion_count(void);

void fx_stop_arm(const struct fx *fx, const char *name);
/* Lets the first `pass` arrivals by. */
void fx_stop_arm_after(const struct fx *fx, const char *name, unsigned int pass);
void fx_stop_wait(const struct fx *fx, const char *name, int ms);
bool fx_stop_hit(const struct fx *fx, const char *name);
void fx_stop_go(const struct fx *fx, const char *name);
/* Leaves a part of kunion out; before fx_attach(). */
void fx_without(const struct fx *fx, const char *part);

/* Calls beside the test (fx_op.c) */

/* In memory shared with the child. */
struct fx_result {
	volatile bool started, done;
	long ret;
	int err; /* positive, 0: success */
	uint64_t start_ns, end_ns;
};

struct fx_op {
	pid_t pid;
	struct fx_result *res;
};

/* Runs fn in a child as user uid (0: as we are). Its value below 0 means that errno tells the error. */
void fx_op_start(struct fx_op *op, uid_t uid, long (*fn)(void *arg), void *arg);
bool fx_op_done(const struct fx_op *op);
/* True: ended, and reaped. */
bool fx_op_wait(struct fx_op *op, int ms);
/* Asleep in kunion's gate at this moment. */
bool fx_op_parked(const struct fx_op *op);
bool fx_wait_parked(const struct fx_op *op, int ms);
/* It has the kernel copy something: the upper file system has become fuller than before. False: the call was over too soon. */
bool fx_wait_copying(const struct fx *fx, uint64_t before, const struct fx_op *op);
void fx_op_kill(struct fx_op *op, int sig);
/* As of proc(5); '?' when it is gone. */
char fx_task_state(pid_t pid);
double fx_op_ms(const struct fx_op *op);

enum fx_call_kind {
	FX_STAT, /* ret is 0 */
	FX_CHMOD,
	FX_CHOWN,
	FX_UTIMES,
	FX_TRUNCATE, /* to size */
	FX_SETXATTR,
	FX_LINK,   /* path to path2 */
	FX_RENAME, /* path to path2 */
	FX_EXCHANGE,
	FX_UNLINK,
	FX_OPEN_R,     /* and reads all: ret 0 when it was exactly the file stamped id of size, else EUCLEAN */
	FX_OPEN_W,     /* O_WRONLY only */
	FX_OPEN_WRITE, /* and puts block 0 with stamp id */
	FX_OPEN_TRUNC,
	FX_CREATE, /* O_CREAT | O_EXCL, one block stamped id */
	FX_MKDIR,
	FX_READDIR, /* ret is the number of names */
	FX_EXEC,    /* path is run; ret is its exit status */
	FX_CALL_KINDS
};

struct fx_call {
	enum fx_call_kind kind;
	const char *path, *path2;
	mode_t mode;
	uid_t as; /* the user that calls */
	uint32_t id;
	off_t size;
	uid_t owner; /* CHOWN */
};

extern const char *const fx_call_names[FX_CALL_KINDS];
/* FX_CALL(FX_CHMOD, path, .mode = 0600) */
#define FX_CALL(what, file, ...) (&(struct fx_call){ .kind = (what), .path = (file), ##__VA_ARGS__ })
/* In this process. 0 or an errno. */
int fx_call_now(const struct fx_call *c);
/* c is copied. */
void fx_call_start(struct fx_op *op, const struct fx_call *c);

/* Races between two calls (fx_race.c): each in a directory of its own, compared with what the kernel alone makes of it. */

/* Where a copy can be held up, in order. */
struct fx_point {
	const char *name, *stop;
	unsigned int pass;  /* arrivals let by first */
	bool commit;	    /* the commit has begun ... */
	bool renamed;	    /* ... and the copy has the name */
	off_t size;	    /* of a file that comes to this point */
};

extern const struct fx_point fx_points[];
extern const unsigned int fx_npoints;

void fx_point_arm(const struct fx *fx, const struct fx_point *p);
void fx_point_wait(const struct fx *fx, const struct fx_point *p);
void fx_point_go(const struct fx *fx, const struct fx_point *p);

#define FX_NAMES_MAX 4
/* Stamps of the race's files whatever their directory: "f", of a point's size, and "g", which is too small for kunion. */
#define FX_F 0xf0f0f0f0u
#define FX_G 0x60606060u
#define FX_G_SIZE FX_KB(16)

struct fx_race {
	const char *name;
	enum fx_tier needs;		 /* skipped below */
	struct fx_call first, second;	 /* their paths are names in the race's directory; the first brings the copy about */
	const char *names[FX_NAMES_MAX]; /* to look at in the end */
	bool second_waits;		 /* for the copy, on tier park; else it must not */
};

struct fx_ends {
	int err[2];
	struct fx_outcome at[FX_NAMES_MAX];
};

/* Lower files DIR/f and DIR/g. */
void fx_race_files(struct fx *fx, const char *dir, off_t size);
/* A call of the race with its names made paths. */
struct fx_call fx_race_call(const struct fx *fx, const struct fx_call *c, const char *dir);
void fx_race_look(const struct fx *fx, const struct fx_race *r, const char *dir, struct fx_ends *e);
/* What the kernel alone makes of it, one call after the other; before fx_attach(). */
void fx_race_order(const struct fx *fx, const struct fx_race *r, const char *dir, bool second_first, struct fx_ends *e);
/* Is it what one of the two orders gives? Otherwise tells all three. */
bool fx_race_allowed(const struct fx_race *r, const struct fx_ends *got, const struct fx_ends *ab, const struct fx_ends *ba);

/*
 * All races at all points, on a fresh union, each ending as one of the kernel's two orders. mid, if any, is called with the second
 * call done (or waiting) and the copy still held up, end when all is over.
 */
typedef void fx_race_fn(struct fx *fx, const struct fx_race *r, const struct fx_point *p, const char *dir);
void fx_race_all(const struct fx_opts *opts, const struct fx_race *races, unsigned int n, fx_race_fn *mid, fx_race_fn *end);

uint64_t fx_now_ns(void);
void fx_sleep_ms(unsigned int ms);

/* Event lines (fx_event.c). Conditions are pairs "key", "value" up to NULL; a number is compared as its digits. */

int fx_event_count(const struct fx *fx, ...) __attribute__((sentinel));
/* Waits until so many are there; a copy is told when its last waiter has left. */
bool fx_event_wait(const struct fx *fx, int count, int ms, ...) __attribute__((sentinel));
/* A number of the first that fits, -1: none. */
int64_t fx_event_number(const struct fx *fx, const char *field, ...) __attribute__((sentinel));
/* The first that fits, to be json_object_put(); NULL: none. */
struct json_object *fx_event_find(const struct fx *fx, ...) __attribute__((sentinel));
void fx_events_show(const struct fx *fx);

/* The test's line, for the fixture's complaints. */
extern const char *fx_here_file;
extern int fx_here_line;
#ifndef FX_PART
#define FX_AT(call) (fx_here_file = __FILE__, fx_here_line = __LINE__, call)
#define fx_init(...) FX_AT(fx_init(__VA_ARGS__))
#define fx_lower(...) FX_AT(fx_lower(__VA_ARGS__))
#define fx_race_all(...) FX_AT(fx_race_all(__VA_ARGS__))
#define fx_race_files(...) FX_AT(fx_race_files(__VA_ARGS__))
#define fx_point_wait(...) FX_AT(fx_point_wait(__VA_ARGS__))
#define fx_mount(...) FX_AT(fx_mount(__VA_ARGS__))
#define fx_umount(...) FX_AT(fx_umount(__VA_ARGS__))
#define fx_end(...) FX_AT(fx_end(__VA_ARGS__))
#define fx_sh(...) FX_AT(fx_sh(__VA_ARGS__))
#define fx_attach(...) FX_AT(fx_attach(__VA_ARGS__))
#define fx_detach(...) FX_AT(fx_detach(__VA_ARGS__))
#define fx_kill(...) FX_AT(fx_kill(__VA_ARGS__))
#define fx_stop_wait(...) FX_AT(fx_stop_wait(__VA_ARGS__))
#endif

/* Checks belong to the test program (ktap.h keeps its state static): the fixture's parts call these. */
bool fx_check(bool ok, const char *cond, const char *file, int line, const char *fmt, ...)
	__attribute__((format(printf, 5, 6)));
void fx_diag(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void fx_skip(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));

#ifdef FX_PART
#define FX_CHECK(cond, ...) fx_check((cond), #cond, __FILE__, __LINE__, " " __VA_ARGS__)
#define FX_REQUIRE(cond, ...)                         \
	do {                                          \
		if (!FX_CHECK(cond, ##__VA_ARGS__))   \
			exit(1);                      \
	} while (0)
#else
#include "ktap.h"

bool fx_check(bool ok, const char *cond, const char *file, int line, const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (!ok)
		ktap_diag("called from %s:%d:", fx_here_file, fx_here_line);
	return ktap_check(ok, cond, file, line, "%s", text);
}

void fx_diag(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	ktap_vdiag(fmt, ap);
	va_end(ap);
}

void fx_skip(const char *fmt, ...)
{
	char text[KTAP_REASON_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	ktap_skip("%s", text);
}
#endif

#endif
