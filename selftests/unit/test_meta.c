// SPDX-License-Identifier: GPL-2.0-only
/* Owner, mode, xattrs, times: in particular the same as after the kernel's own copy-up. */
#include "meta.h"

#include <endian.h>
#include <linux/capability.h>
#include <linux/fs.h>
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>
#include <sys/xattr.h>

#include "unit.h"
#include "util.h"

#define ACL_ACCESS "system.posix_acl_access"
#define ACL_DEFAULT "system.posix_acl_default"

struct acl {
	uint32_t version;
	struct {
		uint16_t tag, perm;
		uint32_t id;
	} e[5];
};

/* user::rw-, user:uid:perm, group::r--, mask::rw-, other::--- */
static struct acl acl_for(uint32_t uid, uint16_t perm)
{
	const uint32_t none = htole32((uint32_t)ACL_UNDEFINED_ID);
	struct acl a = { .version = htole32(POSIX_ACL_XATTR_VERSION),
			 .e = { { htole16(ACL_USER_OBJ), htole16(6), none },
				{ htole16(ACL_USER), htole16(perm), htole32(uid) },
				{ htole16(ACL_GROUP_OBJ), htole16(4), none },
				{ htole16(ACL_MASK), htole16(6), none },
				{ htole16(ACL_OTHER), htole16(0), none } } };

	return a;
}

static struct vfs_cap_data cap_for(uint32_t permitted)
{
	struct vfs_cap_data c = { .magic_etc = htole32(VFS_CAP_REVISION_2 | VFS_CAP_FLAGS_EFFECTIVE) };

	c.data[0].permitted = htole32(permitted);
	return c;
}

static void need_xattr(int r, const char *name)
{
	if (r < 0 && (errno == EOPNOTSUPP || errno == EINVAL))
		ktap_skip("%s cannot be set on tmpfs here", name);
	KTAP_REQUIRE(r == 0, "%s", name);
}

static int value_of(const char *path, const char *name, char *buf, size_t size)
{
	ssize_t n = lgetxattr(path, name, buf, size);

	return n < 0 ? -errno : (int)n;
}

static bool has_value(const char *path, const char *name, const void *want, size_t size)
{
	char buf[1 << 16];
	int n = value_of(path, name, buf, sizeof(buf));

	if (n == (int)size && !memcmp(buf, want, size))
		return true;
	ktap_diag("%s: %s: %d", path, name, n);
	return false;
}

/* Two plain files src and dst on a tmpfs. */
static void pair(int *ret_src, int *ret_dst)
{
	unit_place();
	unit_text("/tmp/src", "source");
	unit_text("/tmp/dst", "source");
	*ret_src = open("/tmp/src", O_RDONLY | O_CLOEXEC);
	*ret_dst = open("/tmp/dst", O_RDWR | O_CLOEXEC);
	KTAP_REQUIRE(*ret_src >= 0 && *ret_dst >= 0);
}

KTAP_TEST(owner_mode_and_nanoseconds)
{
	static const mode_t modes[] = { 0, 0644, 0400, 04755, 02755, 06711, 01777, 07777 };
	struct timespec times[2] = { { 1000000000, 123456789 }, { -5, 999999999 } };
	int src, dst;

	pair(&src, &dst);
	KTAP_REQUIRE(chown("/tmp/src", 1234, 5678) == 0);
	for (size_t i = 0; i < KU_ARRAY_SIZE(modes); i++) {
		struct stat st;

		KTAP_REQUIRE(chmod("/tmp/src", modes[i]) == 0);
		KTAP_REQUIRE(utimensat(AT_FDCWD, "/tmp/src", times, 0) == 0);
		KTAP_CHECK(ku_copy_meta(src, dst) == 0);
		st = unit_stat("/tmp/dst");
		KTAP_CHECK((st.st_mode & 07777) == modes[i], "%o, not %o", st.st_mode & 07777, modes[i]);
		KTAP_CHECK(st.st_uid == 1234 && st.st_gid == 5678);
		KTAP_CHECK(unit_same_time(st.st_atim, times[0]) && unit_same_time(st.st_mtim, times[1]));
	}
}

KTAP_TEST(acl_is_carried_over)
{
	struct acl a;
	int src, dst;

	pair(&src, &dst);
	a = acl_for(1000, 6);
	need_xattr(setxattr("/tmp/src", ACL_ACCESS, &a, sizeof(a), 0), ACL_ACCESS);
	KTAP_CHECK(ku_copy_meta(src, dst) == 0);
	KTAP_CHECK(has_value("/tmp/dst", ACL_ACCESS, &a, sizeof(a)));
	KTAP_CHECK((unit_stat("/tmp/dst").st_mode & 07777) == 0660);
}

/* A stranger whom the directory's default ACL lets in must not get at the copy. */
KTAP_TEST(inherited_acl_is_taken_off)
{
	struct acl a;
	char buf[256];
	int src, dst;

	unit_place();
	a = acl_for(1000, 6);
	unit_text("/tmp/src", "secret");
	KTAP_REQUIRE(chmod("/tmp/src", 0660) == 0);
	KTAP_REQUIRE(mkdir("/tmp/dir", 0755) == 0);
	need_xattr(setxattr("/tmp/dir", ACL_DEFAULT, &a, sizeof(a), 0), ACL_DEFAULT);
	src = open("/tmp/src", O_RDONLY | O_CLOEXEC);
	dst = open("/tmp/dir/dst", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	KTAP_REQUIRE(src >= 0 && dst >= 0);
	KTAP_REQUIRE(value_of("/tmp/dir/dst", ACL_ACCESS, buf, sizeof(buf)) > 0, "nothing was inherited");
	KTAP_CHECK(ku_copy_meta(src, dst) == 0);
	KTAP_CHECK(value_of("/tmp/dir/dst", ACL_ACCESS, buf, sizeof(buf)) == -ENODATA);
	KTAP_CHECK((unit_stat("/tmp/dir/dst").st_mode & 07777) == 0660);

	/* And one of its own replaces the inherited one. */
	a = acl_for(2000, 4);
	KTAP_REQUIRE(setxattr("/tmp/src", ACL_ACCESS, &a, sizeof(a), 0) == 0);
	dst = open("/tmp/dir/dst2", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	KTAP_CHECK(ku_copy_meta(src, dst) == 0);
	KTAP_CHECK(has_value("/tmp/dir/dst2", ACL_ACCESS, &a, sizeof(a)));
}

/* chown drops both, so they come behind it. */
KTAP_TEST(capability_and_setuid_survive_the_owner)
{
	struct vfs_cap_data c = cap_for(1 << CAP_NET_BIND_SERVICE);
	int src, dst;

	pair(&src, &dst);
	KTAP_REQUIRE(chown("/tmp/src", 1000, 1000) == 0 && chmod("/tmp/src", 06755) == 0);
	need_xattr(setxattr("/tmp/src", "security.capability", &c, sizeof(c), 0), "security.capability");
	KTAP_CHECK(ku_copy_meta(src, dst) == 0);
	KTAP_CHECK(has_value("/tmp/dst", "security.capability", &c, sizeof(c)));
	KTAP_CHECK((unit_stat("/tmp/dst").st_mode & 07777) == 06755);
}

KTAP_TEST(user_and_trusted_xattrs_of_any_size)
{
	static char big[60000];
	char name[32];
	int src, dst;

	pair(&src, &dst);
	unit_fill((unsigned char *)big, sizeof(big), 1);
	need_xattr(setxattr("/tmp/src", "trusted.big", big, sizeof(big), 0), "trusted.big");
	KTAP_REQUIRE(setxattr("/tmp/src", "trusted.empty", "", 0, 0) == 0);
	for (int i = 0; i < 300; i++) {
		memset(name, 0, sizeof(name));
		snprintf(name, sizeof(name), "trusted.n%d", i);
		KTAP_REQUIRE(setxattr("/tmp/src", name, name, (size_t)(i % 20), 0) == 0);
	}
	KTAP_CHECK(ku_copy_meta(src, dst) == 0);
	KTAP_CHECK(has_value("/tmp/dst", "trusted.big", big, sizeof(big)));
	KTAP_CHECK(has_value("/tmp/dst", "trusted.empty", "", 0));
	for (int i = 0; i < 300; i++) {
		memset(name, 0, sizeof(name));
		snprintf(name, sizeof(name), "trusted.n%d", i);
		KTAP_CHECK(has_value("/tmp/dst", name, name, (size_t)(i % 20)));
	}
	if (setxattr("/tmp/src", "user.x", "y", 1, 0) == 0) { /* tmpfs: from 6.6 */
		KTAP_CHECK(ku_copy_meta(src, dst) == 0);
		KTAP_CHECK(has_value("/tmp/dst", "user.x", "y", 1));
	}
}

/* What the upper file system cannot hold: skipped, an error only for what would weaken the file's protection. */
KTAP_TEST(unsupported_xattrs_as_in_the_kernel)
{
	static struct unit_fault faults[] = {
		{ .nr = SYS_fsetxattr, .arg = -1, .err = EOPNOTSUPP, .times = 1 },
		{ .nr = SYS_fsetxattr, .arg = -1, .err = EOPNOTSUPP, .times = 1 },
		{ .nr = SYS_fsetxattr, .arg = -1, .err = ENOSPC, .times = 1 },
	};
	struct vfs_cap_data c = cap_for(1 << CAP_NET_BIND_SERVICE);
	char buf[8];
	int src, dst;

	pair(&src, &dst);
	need_xattr(setxattr("/tmp/src", "trusted.x", "y", 1, 0), "trusted.x");
	unit_faults(faults, 3);
	/* Its only one cannot be held: no matter. */
	KTAP_CHECK(ku_copy_meta(src, dst) == 0);
	KTAP_CHECK(value_of("/tmp/dst", "trusted.x", buf, sizeof(buf)) == -ENODATA);
	/* A capability, though. */
	KTAP_REQUIRE(removexattr("/tmp/src", "trusted.x") == 0);
	KTAP_REQUIRE(setxattr("/tmp/src", "security.capability", &c, sizeof(c), 0) == 0);
	KTAP_CHECK(ku_copy_meta(src, dst) == -EOPNOTSUPP);
	/* And any other error is one. */
	KTAP_CHECK(ku_copy_meta(src, dst) == -ENOSPC);
}

/* An ACL that cannot be held is an error, whether it is the first xattr or not. */
KTAP_TEST(unsupported_acl_is_an_error)
{
	static struct unit_fault faults[] = {
		{ .nr = SYS_fsetxattr, .arg = -1, .err = EOPNOTSUPP },
	};
	struct acl a;
	int src, dst;

	pair(&src, &dst);
	a = acl_for(1000, 6);
	need_xattr(setxattr("/tmp/src", ACL_ACCESS, &a, sizeof(a), 0), ACL_ACCESS);
	unit_faults(faults, 1);
	KTAP_CHECK(ku_copy_meta(src, dst) == -EOPNOTSUPP);
}

/* A label that the mount fixes is no error; EVM's is never carried over. */
KTAP_TEST(labels)
{
	static struct unit_fault faults[] = {
		{ .nr = SYS_fsetxattr, .arg = -1, .err = EOPNOTSUPP },
	};
	char buf[64];
	int src, dst;

	pair(&src, &dst);
	if (unit_exists("/sys/fs/selinux/enforce") || unit_exists("/sys/fs/smackfs/load2"))
		ktap_skip("a labelling LSM is active: the labels are not free to choose");
	need_xattr(setxattr("/tmp/src", "security.selinux", "x:y:z:s0", 9, 0), "security.selinux");
	KTAP_CHECK(ku_copy_meta(src, dst) == 0);
	KTAP_CHECK(has_value("/tmp/dst", "security.selinux", "x:y:z:s0", 9));
	if (setxattr("/tmp/src", "security.evm", "\1", 1, 0) == 0) {
		KTAP_CHECK(ku_copy_meta(src, dst) == 0);
		KTAP_CHECK(value_of("/tmp/dst", "security.evm", buf, sizeof(buf)) == -ENODATA);
	}
	unit_faults(faults, 1);
	KTAP_CHECK(ku_copy_meta(src, dst) == 0);
	KTAP_CHECK(faults[0].failed >= 1);
}

KTAP_TEST(noatime_flag)
{
	int src, dst, flags = 0;

	pair(&src, &dst);
	if (ioctl(src, FS_IOC_GETFLAGS, &flags) < 0)
		ktap_skip("tmpfs has no flags here");
	flags |= FS_NOATIME_FL;
	KTAP_REQUIRE(ioctl(src, FS_IOC_SETFLAGS, &flags) == 0);
	KTAP_CHECK(ku_copy_meta(src, dst) == 0);
	flags = 0;
	KTAP_REQUIRE(ioctl(dst, FS_IOC_GETFLAGS, &flags) == 0);
	KTAP_CHECK(flags & FS_NOATIME_FL, "%x", (unsigned int)flags);
}

/* All that can be asked about a file but its times of change and its number. */
static void same_meta(const char *a, const char *b)
{
	struct stat sa = unit_stat(a), sb = unit_stat(b);
	static char la[1 << 16], lb[1 << 16], va[1 << 16];
	ssize_t na = llistxattr(a, la, sizeof(la)), nb = llistxattr(b, lb, sizeof(lb));
	int va_len;

	KTAP_CHECK(sa.st_mode == sb.st_mode, "%o %o", sa.st_mode, sb.st_mode);
	KTAP_CHECK(sa.st_uid == sb.st_uid && sa.st_gid == sb.st_gid);
	KTAP_CHECK(sa.st_size == sb.st_size);
	KTAP_CHECK(sa.st_blocks == sb.st_blocks, "%lld %lld", (long long)sa.st_blocks, (long long)sb.st_blocks);
	KTAP_CHECK(unit_same_time(sa.st_atim, sb.st_atim));
	KTAP_CHECK(unit_same_time(sa.st_mtim, sb.st_mtim));
	KTAP_CHECK(sa.st_nlink == sb.st_nlink);
	KTAP_REQUIRE(na >= 0 && nb >= 0);
	for (char *n = la; n < la + na; n += strlen(n) + 1) {
		va_len = value_of(a, n, va, sizeof(va));
		KTAP_REQUIRE(va_len >= 0);
		/* Set by the kernel's copy-up only (KERNEL.md 10). */
		if (!strncmp(n, "trusted.overlay.origin", 22) || !strncmp(n, "trusted.overlay.uuid", 20))
			continue;
		KTAP_CHECK(has_value(b, n, va, (size_t)va_len), "%s", n);
	}
	for (char *n = lb; n < lb + nb; n += strlen(n) + 1)
		KTAP_CHECK(value_of(a, n, va, sizeof(va)) >= 0, "only ours has %s", n);
}

/* The kernel copies one of two equal lower files, we the other: upper and merged must then be equal. */
KTAP_TEST(same_as_the_kernels_copy_up)
{
	struct vfs_cap_data c = cap_for(1 << CAP_NET_BIND_SERVICE);
	struct timespec times[2] = { { 1234567890, 987654321 }, { 1111111111, 222222222 } };
	static const char *const files[] = { UNIT_LOWER "/dir/kernel", UNIT_LOWER "/dir/ours" };
	struct acl a = acl_for(1000, 6), inherit = acl_for(4000, 7);
	int src, dst;

	unit_layers();
	KTAP_REQUIRE(mkdir(UNIT_LOWER "/dir", 02775) == 0 && chmod(UNIT_LOWER "/dir", 02775) == 0);
	KTAP_REQUIRE(chown(UNIT_LOWER "/dir", 0, 777) == 0);
	need_xattr(setxattr(UNIT_LOWER "/dir", ACL_DEFAULT, &inherit, sizeof(inherit), 0), ACL_DEFAULT);
	for (size_t i = 0; i < KU_ARRAY_SIZE(files); i++) {
		const char *f = files[i];

		unit_text(f, "the same");
		KTAP_REQUIRE(chown(f, 4321, 8765) == 0);
		KTAP_REQUIRE(setxattr(f, ACL_ACCESS, &a, sizeof(a), 0) == 0);
		KTAP_REQUIRE(chmod(f, 06751) == 0);
		KTAP_REQUIRE(setxattr(f, "security.capability", &c, sizeof(c), 0) == 0);
		KTAP_REQUIRE(setxattr(f, "trusted.x", "1", 1, 0) == 0);
		/* An overlay's own name in the lower layer, and an escaped one (from 6.7: an overlay in an overlay). */
		KTAP_REQUIRE(setxattr(f, "trusted.overlay.opaque", "n", 1, 0) == 0);
		KTAP_REQUIRE(setxattr(f, "trusted.overlay.overlay.foo", "bar", 3, 0) == 0);
		(void)!setxattr(f, "user.overlay.foo", "u", 1, 0);
		KTAP_REQUIRE(utimensat(AT_FDCWD, f, times, 0) == 0);
	}
	unit_overlay(NULL);

	src = open(UNIT_MERGED "/dir/kernel", O_WRONLY | O_CLOEXEC);
	KTAP_REQUIRE(src >= 0);
	close(src);
	KTAP_REQUIRE(unit_exists(UNIT_UPPER "/u/dir/kernel"), "the kernel did not copy it up");

	src = open(UNIT_MERGED "/dir/ours", O_RDONLY | O_CLOEXEC);
	dst = open(UNIT_MERGED "/dir", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (dst < 0 && errno == EOPNOTSUPP)
		dst = open(UNIT_MERGED "/dir/t", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	KTAP_REQUIRE(src >= 0 && dst >= 0);
	KTAP_REQUIRE(write(dst, "the same", 8) == 8);
	KTAP_CHECK(ku_copy_meta(src, dst) == 0);
	close(src);
	if (!unit_exists(UNIT_MERGED "/dir/t"))
		KTAP_REQUIRE(linkat(dst, "", AT_FDCWD, UNIT_MERGED "/dir/t", AT_EMPTY_PATH) == 0);
	close(dst);
	KTAP_REQUIRE(rename(UNIT_MERGED "/dir/t", UNIT_MERGED "/dir/ours") == 0);

	same_meta(UNIT_UPPER "/u/dir/kernel", UNIT_UPPER "/u/dir/ours");
	same_meta(UNIT_MERGED "/dir/kernel", UNIT_MERGED "/dir/ours");
	/* The comparison itself: it would see this. */
	KTAP_CHECK((unit_stat(UNIT_MERGED "/dir/ours").st_mode & 07777) == 06751);
	KTAP_CHECK(has_value(UNIT_MERGED "/dir/ours", "security.capability", &c, sizeof(c)));
}

KTAP_MAIN()
