/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A program that answers what rules with verdict hold ask (kunion run --answer): a process for each question, with its facts in the environment and as the
 * hold event's line on standard input. Exit status 0 allows, 1 denies; anything else is no answer. Nothing here waits for it.
 */
#ifndef KU_JUDGE_PROGRAM_H
#define KU_JUDGE_PROGRAM_H

#include <stdbool.h>
#include <stdint.h>

/* At once; further questions wait for one of them to end. */
#define KU_PROGRAMS 8

struct ku_programs;

enum ku_program_says { KU_SAYS_ALLOW, KU_SAYS_DENY, KU_SAYS_NOTHING };

/* Can file be run? 0, or -errno with a line in err. */
int ku_programs_check(const char *file, char err[static 512]);
/* Ends of processes wake who polls epoll_fd. 0, or -errno with a line in err. */
int ku_programs_open(const char *file, int epoll_fd, struct ku_programs **ret, char err[static 512]);
/*
 * From now on file is run, NULL: none. Nobody may run: ku_programs_over() for each. 0, or -errno with a line in err and all as it was.
 */
int ku_programs_file(struct ku_programs *p, const char *file, char err[static 512]);
/* Kills those that run. NULL is allowed. */
void ku_programs_close(struct ku_programs *p);

bool ku_programs_room(const struct ku_programs *p);
/* Asks about the question with this number, whose event line is line. Only with room. 0 or -errno. */
int ku_programs_start(struct ku_programs *p, uint64_t number, const char *line);
/* Nobody waits for that answer any more: its process is killed, with those that it started. */
void ku_programs_over(struct ku_programs *p, uint64_t number);
/* Calls said for each answer that has come. */
void ku_programs_turn(struct ku_programs *p, void (*said)(void *arg, uint64_t number, enum ku_program_says says), void *arg);

#endif
