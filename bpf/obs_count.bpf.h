/* SPDX-License-Identifier: GPL-2.0-only */
/* The ring, its losses, and totals that stay exact whatever the ring drops. */
#ifndef KU_OBS_COUNT_BPF_H
#define KU_OBS_COUNT_BPF_H

const volatile struct ku_obs_config ku_obs_cfg SEC(".rodata.cfg");
struct ku_obs_shared ku_obs SEC(".data.shared");

/* Full: the record is lost, and counted by its kind. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, KU_OBS_RING_SIZE);
} ku_obs_ring SEC(".maps");

/* Full: only the sum counts on. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, KU_MAX_COUNTS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct ku_count_key);
	__type(value, struct ku_count);
} ku_counts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct ku_count);
} ku_sum SEC(".maps");

/*
 * The kernel leaves a tracing program out where another task was preempted in it on the same CPU, and that task's beginning or end would be
 * missing. Not preemptible, it takes an interrupt to do that (and then the task goes as soon as it may, still in the program). The function is
 * there from 6.10 on; kernels before that are seldom preemptible. What must not be missed is seen by a program of another kind, too, which is
 * never left out: lsm/inode_copy_up, and the tracepoints of contended locks.
 */
extern void bpf_preempt_disable(void) __ksym __weak;
extern void bpf_preempt_enable(void) __ksym __weak;

/* BPF_PROG, not preemptible. */
#define KU_OBS_PROG(name, args...)                                                                  \
	int name(unsigned long long *ctx);                                                          \
	static __always_inline int ____##name(unsigned long long *ctx, ##args);                     \
	int name(unsigned long long *ctx)                                                           \
	{                                                                                           \
		int ret;                                                                            \
                                                                                                    \
		if (&bpf_preempt_disable != NULL)                                                   \
			bpf_preempt_disable();                                                      \
		_Pragma("GCC diagnostic push")                                                      \
		_Pragma("GCC diagnostic ignored \"-Wint-conversion\"")                              \
		ret = ____##name(___bpf_ctx_cast(args));                                            \
		_Pragma("GCC diagnostic pop")                                                       \
		if (&bpf_preempt_disable != NULL)                                                   \
			bpf_preempt_enable();                                                       \
		return ret;                                                                         \
	}                                                                                           \
	static __always_inline int ____##name(unsigned long long *ctx, ##args)

/* To begin a counter with: too large for the stack. */
static const struct ku_count ku_no_count = {};

static __always_inline bool ku_observes(struct super_block *sb, __u32 *dev)
{
	if (BPF_CORE_READ(sb, s_magic) != OVERLAYFS_SUPER_MAGIC)
		return false;
	*dev = BPF_CORE_READ(sb, s_dev);
	return ku_obs_cfg.all || bpf_map_lookup_elem(&ku_unions, dev);
}

static __always_inline bool ku_obs_is_self(const struct ku_task *who)
{
	return who->pid == ku_obs.self_tgid;
}

static __always_inline void ku_obs_send(void *record, __u32 type, __u64 len)
{
	if (bpf_ringbuf_output(&ku_obs_ring, record, len, 0))
		__sync_fetch_and_add(&ku_obs.dropped[type < KU_O_MAX ? type : 0], 1);
}

static __always_inline __u32 ku_obs_path(char *path, struct dentry *dentry)
{
	__u32 len = dentry ? ku_fill_path(path, dentry) : 0;

	return !len && (!dentry || BPF_CORE_READ(dentry, d_parent) != dentry) ? KU_PATH_UNKNOWN : len;
}

static __always_inline struct ku_count *ku_count_of(__u32 dev, __u64 cgroup_id, bool failed)
{
	struct ku_count_key key = { .dev = dev, .failed = failed, .cgroup_id = cgroup_id };
	struct ku_count *c = bpf_map_lookup_elem(&ku_counts, &key);

	if (c)
		return c;
	bpf_map_update_elem(&ku_counts, &key, &ku_no_count, BPF_NOEXIST);
	c = bpf_map_lookup_elem(&ku_counts, &key);
	if (!c)
		__sync_fetch_and_add(&ku_obs.no_counts, 1);
	return c;
}

/*
 * The place of the highest bit, without a branch: the verifier would follow all that comes behind once for each of a loop's ways out. All bits
 * below the highest are set, then counted.
 */
static __always_inline __u32 ku_hist_bucket(__u64 ns)
{
	__u64 us = ns / 1000;
	__u32 x = us >> (KU_OBS_HIST - 1) ? (1u << (KU_OBS_HIST - 1)) - 1 : (__u32)us;

	x |= x >> 1;
	x |= x >> 2;
	x |= x >> 4;
	x |= x >> 8;
	x |= x >> 16;
	x -= (x >> 1) & 0x55555555;
	x = (x & 0x33333333) + ((x >> 2) & 0x33333333);
	x = (x + (x >> 4)) & 0x0f0f0f0f;
	return (x * 0x01010101) >> 24 & (KU_OBS_HIST - 1);
}

/* A program can be preempted by another one's run on the same CPU: atomic all the same. */
static __always_inline void ku_count_copyup(struct ku_count *c, __u64 bytes, __u64 ns, __u32 bucket)
{
	if (!c)
		return;
	__sync_fetch_and_add(&c->copyups, 1);
	__sync_fetch_and_add(&c->bytes, bytes);
	__sync_fetch_and_add(&c->copyup_ns, ns);
	__sync_fetch_and_add(&c->copyup_hist[bucket & (KU_OBS_HIST - 1)], 1);
}

static __always_inline void ku_count_wait(struct ku_count *c, bool stall, __u64 ns, __u32 bucket)
{
	if (!c)
		return;
	__sync_fetch_and_add(&c->waits, 1);
	__sync_fetch_and_add(&c->wait_ns, ns);
	if (stall)
		__sync_fetch_and_add(&c->stalls, 1);
	__sync_fetch_and_add(&c->wait_hist[bucket & (KU_OBS_HIST - 1)], 1);
}

static __always_inline struct ku_count *ku_count_sum(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&ku_sum, &zero);
}

#endif
