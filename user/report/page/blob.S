/* SPDX-License-Identifier: GPL-2.0-only */
/* Style and script of the HTML report, and their hashes for its Content-Security-Policy. */
	.section .rodata
	.globl ku_page_css_start, ku_page_css_end, ku_page_css_hash, ku_page_js_start, ku_page_js_end, ku_page_js_hash
ku_page_css_start:
	.incbin CSS
ku_page_css_end:
ku_page_js_start:
	.incbin JS
ku_page_js_end:
ku_page_css_hash:
	.asciz CSS_HASH
ku_page_js_hash:
	.asciz JS_HASH
	.section .note.GNU-stack,"",@progbits
