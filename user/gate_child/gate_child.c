// SPDX-License-Identifier: GPL-2.0-only
/*
 * The gate's child (DESIGN 3): its executable is the gate's file, and that is all it is for. It sleeps until its parent's death
 * (PR_SET_PDEATHSIG, set before exec) kills it.
 */
#if defined(__x86_64__)
#define NR_PAUSE 34

void _start(void)
{
	for (;;) {
		long ret;

		__asm__ volatile("syscall" : "=a"(ret) : "a"(NR_PAUSE) : "rcx", "r11", "memory");
	}
}
#else
#error "kunion's gate is for x86-64: add this architecture's pause(2)"
#endif
