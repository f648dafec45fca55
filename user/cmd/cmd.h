/* SPDX-License-Identifier: GPL-2.0-only */
/* Subcommands: one file each (cmd_NAME.c), one row each in main.c. */
#ifndef KU_CMD_H
#define KU_CMD_H

/* Exit statuses that every subcommand shares; `run` otherwise gives that of its CMD. */
enum ku_exit {
	KU_EXIT_OK = 0,
	KU_EXIT_FAIL = 1,  /* it ran, and the answer is no (doctor, fsck, copy-up of some file) */
	KU_EXIT_USAGE = 2, /* nothing was done: bad words, not an overlay, no permission, kernel too old */
};

/* argv[0] is the subcommand's name. Returns an exit status; says on stderr itself what went wrong. */
int ku_cmd_run(int argc, char **argv);
int ku_cmd_daemon(int argc, char **argv);
int ku_cmd_attach(int argc, char **argv);
int ku_cmd_detach(int argc, char **argv);
int ku_cmd_status(int argc, char **argv);
int ku_cmd_trace(int argc, char **argv);
int ku_cmd_report(int argc, char **argv);
int ku_cmd_doctor(int argc, char **argv);
int ku_cmd_top(int argc, char **argv);
int ku_cmd_metrics(int argc, char **argv);
int ku_cmd_copy_up(int argc, char **argv);
int ku_cmd_fsck(int argc, char **argv);
int ku_cmd_commit(int argc, char **argv);
int ku_cmd_diff(int argc, char **argv);
int ku_cmd_policy(int argc, char **argv);
/* detach --all: removes a pinned policy. An exit status, as above. detach_all.c */
int ku_detach_all(void);

#endif
