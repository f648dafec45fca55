/* SPDX-License-Identifier: GPL-2.0-only */
	.section .rodata
	.globl ku_ctl_interface_start, ku_ctl_interface_end
ku_ctl_interface_start:
	.incbin INTERFACE
ku_ctl_interface_end:
	.byte 0
	.section .note.GNU-stack,"",@progbits
