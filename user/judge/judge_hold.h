/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Verdict hold: tasks asleep at a gate of its own, in every mode, until somebody answers, at the limit kunion itself. Answers come by datagrams to
 * KU_HOLD_SOCKET.PID in kunion's run directory, which is root's: `kunion policy answer`.
 */
#ifndef KU_JUDGE_HOLD_H
#define KU_JUDGE_HOLD_H

#include <linux/types.h>
#include <stdbool.h>
#include <stdint.h>

#include "kunion_judge_abi.h"

#define KU_HOLD_SOCKET "hold"
/*
 * "ID allow" or "ID deny ERRNO", ERRNO a number, 0 for the rule's own. Or "next ID": which open question has the smallest number above ID? Its reply is the
 * milliseconds until its limit, a space, and its event line. The other replies:
 */
#define KU_HOLD_OK "ok"
#define KU_HOLD_NONE "no such question"
#define KU_HOLD_REPLY (128u << 10) /* bytes: no reply is longer */

struct bpf_object;
struct ku_event;
struct ku_judge_hold;

/*
 * obj is loaded. Its wait-able descriptors are put into epoll_fd. 0, or -errno with a line in err. Nobody is held before ku_judge_hold_begin().
 */
int ku_judge_hold_open(struct bpf_object *obj, struct ku_pol_shared *shared, int epoll_fd, struct ku_judge_hold **ret, char err[static 512]);
/*
 * From now on file (judge_program.h) is run for each question, also for those that are open; NULL: none is. 0, or -errno with a line in err and all as it
 * was.
 */
int ku_judge_hold_program(struct ku_judge_hold *h, const char *file, char err[static 512]);
void ku_judge_hold_begin(struct ku_judge_hold *h);
/* Another policy is in force, or none: who is held is judged by that. */
void ku_judge_hold_let_go(struct ku_judge_hold *h);
/* Nobody is held any more; those who are go on natively, or as the rule says for the limit. */
void ku_judge_hold_end(struct ku_judge_hold *h);
/* NULL is allowed. */
void ku_judge_hold_close(struct ku_judge_hold *h);

/* A question, to be told now as *e, whose number, by which it is answered, is set; 0: no memory, nobody can. */
void ku_judge_hold_asked(struct ku_judge_hold *h, const struct ku_pol_record *r, struct ku_event *e);
/* What is to be done now; milliseconds until there is more, -1: not of itself. */
int ku_judge_hold_turn(struct ku_judge_hold *h);

/* Does this kernel have what it needs (Linux 6.18)? Asks the kernel's BTF. */
bool ku_judge_hold_works(void);

#endif
