/* SPDX-License-Identifier: GPL-2.0-only */
/* Telling the service manager, sd_notify(3)'s protocol: a datagram to $NOTIFY_SOCKET. */
#ifndef KU_CTL_NOTIFY_H
#define KU_CTL_NOTIFY_H

#include <stdint.h>

/* "READY=1\nSTATUS=.."; nothing where no manager asks for it. Returns 0 or -errno. */
int ku_notify(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* How often WATCHDOG=1 is due, half of what the manager asks for in nanoseconds; 0: never. */
uint64_t ku_notify_watchdog_ns(void);

#endif
