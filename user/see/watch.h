/* SPDX-License-Identifier: GPL-2.0-only */
/* What trace, top, report and metrics share: which unions, which events, live or from a file, and until when. */
#ifndef KU_WATCH_H
#define KU_WATCH_H

#include <argp.h>

#include "filter.h"
#include "session.h"

struct ku_watch {
	const char *name;	/* "kunion trace", for messages */
	struct ku_session_opts opts; /* mode, min_size, max_wait_ns, writes; the rest is filled in by ku_watch_run() */
	struct ku_filter filter;
	bool json;
	const char *from;	/* FILE of event lines, "-": stdin; NULL: live */
	uint64_t duration_ns;	/* 0: until SIGINT, or the end of cmd or of the file */
	char **paths;		/* merged directories; none with all */
	unsigned int npaths;
	bool all;		/* every overlay mount, those to come too */
	bool beside;		/* from goes beside one path, which is looked at and not attached to */
	char **cmd;		/* behind "--" */
	uint64_t tick_ns;	/* how often on_tick is called; 0: never */
	int fd;			/* also to be waited for, then on_input is called, which may change it; -1: none */
	/* attached, or the file is open: nothing was wrong; may be NULL. s, here and below: NULL when read from a file, or told by the daemon */
	void (*on_start)(void *arg, struct ku_session *s);
	void (*on_event)(void *arg, const struct ku_event *e);
	void (*on_tick)(void *arg, struct ku_session *s);
	bool (*on_input)(void *arg, struct ku_session *s); /* false: end */
	void (*on_end)(void *arg, struct ku_session *s); /* all is over, and still counted; live only; may be NULL */
	void *arg;
	bool may_ask;	    /* the daemon, where it is attached to what is to be seen */
	bool no_daemon;	    /* not, though */
	const char *socket; /* NULL: where it usually listens */
	const char *asked;  /* the daemon's socket, once ku_watch_run() has decided for it; else NULL */
	char **only;	    /* then the real ones of paths, if there are any */
	bool stop; /* set by a callback: no more on_event; ends, with CMD when there is one */
	char *union_buf; /* behind filter.union_path */
};

/*
 * Defaults, and the argv in front of "--" (argc is cut there). Returns 0, or KU_EXIT_USAGE after one line on stderr. Then argp_parse()
 * with ku_watch_argp among the children, input the struct.
 */
int ku_watch_init(struct ku_watch *w, const char *name, int *argc, char **argv);
/* -m -s -w --all -p -c --cgroup --union --path --min-bytes --min-ms --json --duration -v MERGED.., and --from --socket --no-daemon */
extern const struct argp ku_watch_argp;
/* For top, which reads no file; for metrics, which asks the daemon in its own way. */
extern const struct argp ku_watch_now_argp, ku_watch_count_argp;

/*
 * Runs it, calling on_event for what passes the filter, in this thread; of a file's later changes only those are told whose copy-up was.
 * While live, a callback must not block: who is parked would be held up. Returns an exit status: that of cmd, KU_EXIT_OK, or
 * KU_EXIT_USAGE after one line on stderr.
 */
int ku_watch_run(struct ku_watch *w);
void ku_watch_free(struct ku_watch *w);

/* Is the union mounted there one that is to be seen? The daemon tells of all it has. */
bool ku_watch_has(const struct ku_watch *w, const char *union_path);

/* "trace" of "kunion trace" */
const char *ku_watch_word(const struct ku_watch *w);

/* watch_daemon.c: does what is asked for need no attaching of our own? */
bool ku_watch_may_ask(const struct ku_watch *w);
/* Is it the daemon that tells? Then w->asked and w->only are set. False after one line on stderr: nothing can be seen. */
bool ku_watch_choose(struct ku_watch *w);
void ku_watch_forget(struct ku_watch *w); /* w->only */

#endif
