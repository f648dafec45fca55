/* SPDX-License-Identifier: GPL-2.0-only */
/* Carrying over what is not data: owner, mode, xattrs (ACLs, capabilities, labels), times. */
#ifndef KU_META_H
#define KU_META_H

/*
 * Gives dst the owner, xattrs, mode, noatime and sync flags and nanosecond access and modification times of src, in the order
 * that keeps each (chown drops capabilities and set-id bits, so it comes first; times come last). An ACL that dst inherited from
 * its directory is taken off. Call it after the data.
 *
 * Both are seen through an overlay, which hides its own xattrs: what it lists is the user's (also the escaped ones of an overlay
 * inside it), and is carried over. An xattr that the upper file system cannot hold is an error for ACLs and security.*, and
 * skipped for the others, as in the kernel's copy-up (fs/overlayfs/copy_up.c, ovl_copy_xattr). security.evm is made anew by EVM;
 * the labels of SELinux and Smack are skipped where the mount does not allow setting them.
 * Returns 0 or -errno.
 */
int ku_copy_meta(int src, int dst);

#endif
