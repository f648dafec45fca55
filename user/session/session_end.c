// SPDX-License-Identifier: GPL-2.0-only
/* The end of a session, or of what there is of one: nobody is left waiting, and every story is told to its end. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#include "intents.h"
#include "session.h"

/* Everyone into native behaviour: no entry is live, no hook makes another. */
static void ku_let_go(struct ku_session *s)
{
	/* Not removed yet: on a union that is none of ours a commit's rename would pass unchecked. */
	for (unsigned int i = 0; i < s->nunions; i++) {
		struct ku_union_cfg cfg = { .id = i, .mode = KU_MODE_OBSERVE, .min_size = s->opts.min_size };

		if (!s->unions[i].gone)
			ku_bpf_union_set(&s->bpf, ku_kernel_dev(s->unions[i].u.dev), &cfg);
	}
	for (uint32_t i = 0; i < KU_SLOTS; i++) {
		struct ku_slot *slot = &s->bpf.slots[i];

		for (;;) {
			__u64 w = ku_slot_word(slot);
			uint32_t state = KU_WORD_STATE(w);

			/* A commit whose rename has begun ends by itself. */
			if (!KU_STATE_PENDING(state) || state == KU_S_RENAMING)
				break;
			if (ku_slot_move(slot, KU_WORD_GEN(w), state, KU_S_LOST, 0))
				break;
		}
	}
	if (s->gate)
		ku_gate_release_all(s->gate);
}

/* Who comes to the gate behind ku_let_go() is answered meanwhile, however long a worker takes. */
static void ku_join_workers(struct ku_session *s)
{
	struct pollfd gate = { .fd = s->gate ? ku_gate_fd(s->gate) : -1, .events = POLLIN };

	for (unsigned int i = 0; i < s->nworkers; i++) {
		while (gate.fd >= 0 && pthread_tryjoin_np(s->workers[i], NULL) == EBUSY) {
			if (poll(&gate, 1, 10) > 0 && ku_gate_process(s->gate))
				gate.fd = -1; /* the connection is gone, and with it who waited */
			ku_gate_release_all(s->gate);
		}
		if (gate.fd < 0)
			pthread_join(s->workers[i], NULL);
	}
}

void ku_session_end(struct ku_session *s)
{
	if (!s)
		return;
	if (s->bpf.slots)
		ku_let_go(s);
	pthread_mutex_lock(&s->lock);
	s->stopping = true;
	pthread_cond_broadcast(&s->work);
	pthread_mutex_unlock(&s->lock);
	ku_join_workers(s);
	if (s->judge)
		ku_judge_detach(s->judge);
	if (s->observer)
		ku_observer_detach(s->observer);
	for (unsigned int i = 0; s->bpf.slots && i < s->nunions; i++)
		if (!s->unions[i].gone)
			ku_bpf_union_remove(&s->bpf, ku_kernel_dev(s->unions[i].u.dev));
	if ((s->bpf.ring || s->observer) && s->done_fd >= 0) {
		/* Rest of the story for the event lines; those parked need a moment to get away. */
		for (int i = 0; i < 200; i++) {
			if (ku_session_turn(s) < 0 && !s->draining)
				break;
			usleep(1000);
		}
		ku_session_drain(s, true);
	}
	if (s->attached && s->observer)
		ku_observer_finish(s->observer);
	if (s->attached && s->opts.summary)
		ku_report_summary(s);
	/* Links before the gate: nobody may come to sleep at a gate that is gone. */
	ku_bpf_detach(&s->bpf);
	ku_judge_close(s->judge);
	ku_gate_close(s->gate);
	ku_bpf_close(&s->bpf);
	ku_observer_close(s->observer);
	for (unsigned int i = 0; i < s->nunions; i++) {
		if (s->unions[i].intents)
			ku_intents_close(s->unions[i].intents);
		ku_union_close(&s->unions[i].u);
	}
	free(s->unions);
	ku_report_free(s);
	ku_events_close(s->events);
	if (s->done_fd >= 0)
		close(s->done_fd);
	if (s->epoll_fd >= 0)
		close(s->epoll_fd);
	pthread_cond_destroy(&s->work);
	pthread_mutex_destroy(&s->lock);
	free(s);
}
