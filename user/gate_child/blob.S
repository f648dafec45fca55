/* SPDX-License-Identifier: GPL-2.0-only */
	.section .rodata
	.globl ku_gate_child_start, ku_gate_child_end
ku_gate_child_start:
	.incbin BLOB
ku_gate_child_end:
	.section .note.GNU-stack,"",@progbits
