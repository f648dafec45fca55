// SPDX-License-Identifier: GPL-2.0-only
/*
 * Overlays of containers: mounted in their mount namespaces only, attached by container, process or all at once; new ones seen from their first write
 * on; let go with their mounts, which nothing keeps busy.
 */
#include "box.h"

FX_LEAN

/* In a box: layers on a tmpfs of its own, with files d/a to d/e of 1 MiB. */
#define LAYERS                                                                                                                             \
	"mkdir -p " FX_DIR "/box && mount -t tmpfs box " FX_DIR "/box && cd " FX_DIR "/box && mkdir -p l/d u w m other && for f in a b c d e; do dd " \
	"if=/dev/zero of=l/d/$f bs=64k count=16 2>/dev/null; done"
#define OVERLAY "mount -t overlay -o lowerdir=l,upperdir=u,workdir=w box "
#define BOX FX_DIR "/box"
#define M BOX "/m"

/* Attach, and what is said of it. */
static void by_container(struct fx *fx, struct box *b, bool manage)
{
	struct json_object *u, *all;

	KTAP_CHECK(box_run(b, "cd " BOX " && " OVERLAY M) == 0);
	KTAP_CHECK(BOX_KUNION("attach", "--container", "ffff") == 1 && strstr(BOX_SAID, "no process has that id"), "%s", BOX_SAID);
	KTAP_CHECK(BOX_KUNION("attach", "--pid", "999999") == 1 && strstr(BOX_SAID, "there is none"), "%s", BOX_SAID);
	KTAP_CHECK(BOX_KUNION("attach", "--pid", fx_name("%d", getpid())) == 1 && strstr(BOX_SAID, "no mount namespace of its own"), "%s", BOX_SAID);
	KTAP_CHECK(BOX_KUNION("attach", "--container", "3f1b", "--match", "/elsewhere/**") == 1 && strstr(BOX_SAID, "no writable overlay"), "%s",
		   BOX_SAID);
	KTAP_CHECK(BOX_KUNION("attach", "--container", "3f1b") == 0 && !strcmp(BOX_SAID, M "\n"), "%s", BOX_SAID);
	KTAP_CHECK(BOX_KUNION("attach", "--container", "3f1b") == 1 && strstr(BOX_SAID, "attached already"), "%s", BOX_SAID);
	u = box_union(M, SEE_ID_A, &all);
	KTAP_REQUIRE(u, "%s", BOX_SAID);
	KTAP_CHECK(see_is(u, "elsewhere", "true") && see_is(u, "upper", "u") && see_is(u, "in_force", manage ? "manage" : "observe"), "%s", BOX_SAID);
	json_object_put(all);

	KTAP_CHECK(box_run(b, "echo x >>" M "/d/a") == 0);
	KTAP_CHECK(fx_event_wait(fx, 1, FX_LONG, "event", "copyup", "union", M, "path", "/d/a", "container", SEE_ID_A, "engine",
				 manage ? "kunion" : "kernel", "result", "ok", NULL));
	/* Right behind a copy; and the shell below is of the container, too. */
	KTAP_CHECK(box_run(b, "umount " M) == 0, "busy");
	box_comes(M, NULL, false);
}

static void by_pid(struct fx *fx, struct box *b)
{
	KTAP_CHECK(box_run(b, "cd " BOX " && " OVERLAY M) == 0);
	KTAP_CHECK(BOX_KUNION("attach", "-m", "observe", "--pid", fx_name("%d", b->pid)) == 0 && !strcmp(BOX_SAID, M "\n"), "%s", BOX_SAID);
	KTAP_CHECK(box_run(b, "echo x >>" M "/d/b") == 0);
	KTAP_CHECK(fx_event_wait(fx, 1, FX_LONG, "event", "copyup", "union", M, "path", "/d/b", "container", SEE_ID_B, "engine", "kernel", NULL));
	KTAP_CHECK(BOX_KUNION("detach", "--container", "3f1b", M) == 1 && strstr(BOX_SAID, "is not attached"), "%s", BOX_SAID);
	KTAP_CHECK(BOX_KUNION("detach", "--container", "0011", M) == 0, "%s", BOX_SAID);
	KTAP_CHECK(box_run(b, "echo x >>" M "/d/c && umount " M) == 0, "busy");
	KTAP_CHECK(fx_event_count(fx, "event", "copyup", "path", "/d/c", NULL) == 0, "let go, and still seen");
}

/* Mounted and written to in one go, while nobody has looked yet. */
static void new_ones(struct fx *fx, struct box *a, struct box *b)
{
	struct json_object *u, *all;

	KTAP_CHECK(box_run(b, "cd " BOX " && rm -rf u/* && " OVERLAY M) == 0);
	KTAP_CHECK(BOX_KUNION("attach", "-m", "observe", "--all", "--match", BOX "/**") == 0 && strstr(BOX_SAID, M "\n"), "%s", BOX_SAID);
	box_comes(M, SEE_ID_B, true);
	KTAP_CHECK(box_run(a, "cd " BOX " && rm -rf u/* && " OVERLAY M " && echo x >>" M "/d/d") == 0);
	KTAP_CHECK(fx_event_wait(fx, 1, FX_LONG, "event", "copyup", "union", M, "path", "/d/d", "container", SEE_ID_A, NULL), "first write missed");
	box_comes(M, SEE_ID_A, true);
	u = box_union(M, SEE_ID_A, &all);
	KTAP_CHECK(u && see_is(u, "automatic", "true") && see_is(u, "elsewhere", "true"), "%s", BOX_SAID);
	json_object_put(all);
	/* In our mount namespace, as engines do it; and one that is not meant. */
	KTAP_REQUIRE(!mkdir(BOX "/here", 0755) || errno == EEXIST);
	KTAP_CHECK(fx_call_now(FX_CALL(FX_OPEN_W, fx_path(fx, "d/first"))) == 0);
	fx_sh("mkdir -p " BOX "/u2 " BOX "/w2 && mount -t overlay -o lowerdir=%s,upperdir=" BOX "/u2,workdir=" BOX "/w2 o " BOX
	      "/here && echo x >>" BOX "/here/d/second", fx->lower);
	KTAP_CHECK(fx_event_wait(fx, 1, FX_LONG, "event", "copyup", "union", BOX "/here", "path", "/d/second", NULL));
	box_comes(BOX "/here", NULL, true);
	KTAP_CHECK(fx_event_count(fx, "event", "copyup", "union", fx->merged, NULL) == 0, "it does not match");
	/* Named now: the standing order gives way. */
	KTAP_CHECK(BOX_KUNION("attach", BOX "/here") == 0, "%s", BOX_SAID);
	KTAP_CHECK(umount(BOX "/here") == 0, "%s", strerror(errno));
	KTAP_CHECK(box_run(a, "umount " M) == 0 && box_run(b, "umount " M) == 0, "busy");
	box_comes(BOX "/here", NULL, false);
	box_comes(M, NULL, false);
}

/* The namespace ends with its last process: nothing of ours keeps it. */
static void ends_with_its_processes(struct fx *fx)
{
	struct box b;

	fx_sh("mkdir -p " FX_DIR "/kept/u " FX_DIR "/kept/w && mount -t tmpfs kept " FX_DIR "/kept && mkdir " FX_DIR "/kept/u " FX_DIR "/kept/w");
	box_start(&b, SEE_DOCKER, false);
	KTAP_CHECK(box_run(&b, "mkdir -p " BOX "/e && mount -t overlay -o lowerdir=%s,upperdir=" FX_DIR "/kept/u,workdir=" FX_DIR "/kept/w o " BOX "/e",
			   fx->lower) == 0);
	box_comes(BOX "/e", SEE_ID_A, true);
	box_end(&b);
	box_comes(BOX "/e", NULL, false);
	KTAP_CHECK(umount(FX_DIR "/kept") == 0, "an overlay that nobody sees is left: %s", strerror(errno));
}

/* The standing order ends: its unions are let go, what was named stays, and what comes is nobody's. */
static void order_ends(struct fx *fx, struct box *a, struct box *b)
{
	struct json_object *u, *all;

	KTAP_CHECK(box_run(a, "cd " BOX " && rm -rf u/* && " OVERLAY M) == 0 && box_run(b, "cd " BOX " && rm -rf u/* && " OVERLAY M) == 0);
	box_comes(M, SEE_ID_A, true);
	box_comes(M, SEE_ID_B, true);
	KTAP_CHECK(BOX_KUNION("attach", "-m", "observe", "--container", "3f1b") == 0, "%s", BOX_SAID);
	KTAP_CHECK(BOX_KUNION("status") == 0 && strstr(BOX_SAID, "\nstanding: attach --all --match " BOX "/**, mode observe;"), "%s", BOX_SAID);
	KTAP_CHECK(BOX_KUNION("detach", "--all", "--match", "/elsewhere") == 1 && strstr(BOX_SAID, "no 'kunion attach --all --match /elsewhere' stands"),
		   "%s", BOX_SAID);
	KTAP_CHECK(BOX_KUNION("detach", "--all", "--match", BOX "/**") == 0 && !strcmp(BOX_SAID, "ended: kunion attach --all --match " BOX "/**\n"), "%s",
		   BOX_SAID);
	KTAP_CHECK(!box_union(M, SEE_ID_B, &all), "not let go: %s", BOX_SAID);
	json_object_put(all);
	KTAP_CHECK(box_union(M, SEE_ID_A, &all) && !strstr(BOX_SAID, "/**"), "%s", BOX_SAID);
	json_object_put(all);
	KTAP_CHECK(BOX_KUNION("detach", "--all") == 1 && strstr(BOX_SAID, "no 'kunion attach --all' stands"), "%s", BOX_SAID);

	KTAP_CHECK(box_run(b, "echo x >>" M "/d/a && umount " M " && cd " BOX " && " OVERLAY M " && echo x >>" M "/d/d") == 0);
	KTAP_CHECK(BOX_KUNION("attach", "-m", "observe", "--container", "0011") == 0, "%s", BOX_SAID);
	KTAP_CHECK(box_run(b, "echo x >>" M "/d/e") == 0);
	KTAP_CHECK(fx_event_wait(fx, 1, FX_LONG, "event", "copyup", "union", M, "path", "/d/e", "container", SEE_ID_B, NULL));
	for (const char *const *path = (const char *const[]){ "/d/a", "/d/d", NULL }; *path; path++)
		KTAP_CHECK(fx_event_count(fx, "event", "copyup", "path", *path, "container", SEE_ID_B, NULL) == 0, "%s is seen", *path);
	u = box_union(M, SEE_ID_B, &all);
	KTAP_CHECK(u && see_is(u, "automatic", "false"), "%s", BOX_SAID);
	json_object_put(all);
	KTAP_CHECK(box_run(a, "umount " M) == 0 && box_run(b, "umount " M) == 0, "busy");
	box_comes(M, NULL, false);
}

static int locks(void)
{
	const char *dir = getenv("KUNION_RUN_DIR") ?: "/run/kunion";

	return system(fx_name("n=$(ls %s | grep -c '^union-'); exit $n", dir)) >> 8;
}

/* Of another user namespace: only observed, and a refusal leaves nothing behind. */
static void only_observed(struct fx *fx, bool manage)
{
	const char *why = manage ? M ": in a mount namespace of another user namespace, where only mode observe works" : "more than the daemon was started for";
	struct json_object *u, *all;
	struct box r;
	int before;

	box_start(&r, SEE_HOST, true);
	KTAP_REQUIRE(box_run(&r, LAYERS " && mount -t overlay -o lowerdir=l,upperdir=u,workdir=w,userxattr r m") == 0);
	before = locks();
	for (const char *const *mode = (const char *const[]){ "guard", "manage", NULL }; *mode; mode++) {
		KTAP_CHECK(BOX_KUNION("attach", "-m", *mode, "--pid", fx_name("%d", r.pid)) == 1 && strstr(BOX_SAID, why), "%s: %s", *mode, BOX_SAID);
		KTAP_CHECK(!box_union(M, NULL, &all) && locks() == before, "half attached: %s", BOX_SAID);
		json_object_put(all);
	}
	KTAP_CHECK(box_run(&r, "echo x >>" M "/d/a") == 0);
	/* One of many: taken up as it may be. */
	KTAP_CHECK(BOX_KUNION("attach", "-m", manage ? "manage" : "observe", "--all", "--match", M) == 0 && strstr(BOX_SAID, M "\n"), "%s", BOX_SAID);
	u = box_union(M, NULL, &all);
	KTAP_CHECK(u && see_is(u, "in_force", "observe") && locks() == before, "%s", BOX_SAID);
	json_object_put(all);
	KTAP_CHECK(box_run(&r, "echo x >>" M "/d/b") == 0);
	KTAP_CHECK(fx_event_wait(fx, 1, FX_LONG, "event", "copyup", "union", M, "path", "/d/b", "container", "", "engine", "kernel", NULL));
	KTAP_CHECK(BOX_KUNION("detach", "--all") == 0, "%s", BOX_SAID);
	KTAP_CHECK(box_run(&r, "umount " M) == 0, "busy");
	box_end(&r);
}

KTAP_TEST_LIMIT(containers, 400)
{
	struct box a, b;
	struct fx fx;
	bool manage;

	fx_init(&fx, NULL);
	fx_lower(&fx, "d/first", FX_MB(1), 0644);
	fx_lower(&fx, "d/second", FX_MB(1), 0644);
	fx_mount(&fx);
	fx_sh("mkdir -p " BOX);
	see_places_make();
	box_start(&a, SEE_DOCKER, false);
	box_start(&b, SEE_PODMAN, false);
	KTAP_REQUIRE(box_run(&a, LAYERS) == 0 && box_run(&b, LAYERS) == 0);
	manage = box_daemon(&fx, true, NULL);

	by_container(&fx, &a, manage);
	by_pid(&fx, &b);
	new_ones(&fx, &a, &b);
	ends_with_its_processes(&fx);
	order_ends(&fx, &a, &b);
	only_observed(&fx, manage);
	box_end(&a);
	box_end(&b);
	box_daemon_end(&fx);
	see_places_remove();
	fx_end(&fx);
}

/* Without a daemon: of a container, or all that are there, of which a rootless one is only observed; ends when nothing is mounted any more. */
KTAP_TEST_LIMIT(run_without_daemon, 200)
{
	const char *argv[] = { "kunion", "run", "--mode", "manage", "-s", "64K", "--all", "--match", M, "-e", FX_DIR "/events", NULL };
	uint64_t end = fx_now_ns() + BOX_LIMIT_MS * 1000000ull;
	bool manage = true;
	struct box a, b;
	struct fx fx;
	pid_t run;

	fx_init(&fx, NULL);
	fx_lower(&fx, "d/first", FX_MB(1), 0644);
	fx_mount(&fx);
	fx_sh("mkdir -p " BOX);
	see_places_make();
	box_start(&a, SEE_DOCKER, false);
	box_start(&b, SEE_PODMAN, true);
	KTAP_REQUIRE(box_run(&a, LAYERS " && " OVERLAY M) == 0 && box_run(&b, LAYERS " && mount -t overlay -o lowerdir=l,upperdir=u,workdir=w,userxattr r m") == 0);
	KTAP_CHECK(box_finish(box_spawn(BOX_OUT, (const char *const[]){ "kunion", "run", "--container", "3f1b", "--match", "/x", "true", NULL })) == 2);
	KTAP_CHECK(box_finish(box_spawn(BOX_OUT, (const char *const[]){ "kunion", "run", "--container", "0011", "--", "true", NULL })) == 2 &&
		   strstr(BOX_SAID, "where only mode observe works"), "%s", BOX_SAID);
	KTAP_CHECK(box_finish(box_spawn(BOX_OUT, (const char *const[]){ "kunion", "run", "-m", "observe", "-e", FX_DIR "/one", "--container", "3f1b", "--",
									"true", NULL })) == 0, "%s", BOX_SAID);
	KTAP_CHECK(strstr(box_text(FX_DIR "/one"), "\"union\":\"" M "\"") && !strstr(box_text(FX_DIR "/one"), fx.merged), "%s", box_text(FX_DIR "/one"));
	for (;;) {
		run = box_spawn(fx.log, argv);
		while (!strstr(box_text(fx.log), "attached, tier") && fx_now_ns() < end && !waitpid(run, NULL, WNOHANG))
			fx_sleep_ms(50);
		if (strstr(box_text(fx.log), "attached, tier"))
			break;
		KTAP_REQUIRE(manage && strstr(box_text(fx.log), "does not work on this kernel"), "%s", box_text(fx.log));
		manage = false;
		argv[3] = "observe";
	}
	KTAP_CHECK(box_run(&b, "echo x >>" M "/d/b") == 0 && box_run(&a, "echo x >>" M "/d/a") == 0);
	KTAP_CHECK(fx_event_wait(&fx, 1, FX_LONG, "event", "copyup", "union", M, "path", "/d/a", "container", SEE_ID_A, "engine",
				 manage ? "kunion" : "kernel", "result", "ok", NULL));
	KTAP_CHECK(fx_event_wait(&fx, 1, FX_LONG, "event", "copyup", "union", M, "path", "/d/b", "container", SEE_ID_B, "engine", "kernel", "result", "ok",
				 NULL));
	KTAP_CHECK(box_run(&a, "umount " M) == 0 && box_run(&b, "umount " M) == 0, "busy");
	KTAP_CHECK(box_finish(run) == 0, "%s", box_text(fx.log));
	box_end(&a);
	box_end(&b);
	see_places_remove();
	fx_end(&fx);
}

#define POLICY FX_DIR "/policy"

/* Upper file systems that only the containers see. The looks keep neither busy; a rootless one's file system may never answer, and is not asked. */
static void keep_free(struct fx *fx, struct box *a, struct box *rootless)
{
#define SMALL "cd " BOX " && mkdir -p s m2 && mount -t tmpfs -o size=5632k small s && mkdir s/u s/w && "
#define SMALL_END "umount " BOX "/m2 && umount " BOX "/s"
	KTAP_CHECK(box_run(a, SMALL "mount -t overlay -o lowerdir=l,upperdir=s/u,workdir=s/w box m2") == 0);
	KTAP_CHECK(box_run(rootless, SMALL "mount -t overlay -o lowerdir=l,upperdir=s/u,workdir=s/w,userxattr r m2") == 0);
	box_comes(BOX "/m2", SEE_ID_A, true);
	box_comes(BOX "/m2", SEE_ID_B, true);
	KTAP_CHECK(box_run(a, "cd " BOX "/m2/d && echo x >>a && ! (echo x >>b) 2>/dev/null") == 0);
	KTAP_CHECK(fx_event_wait(fx, 1, FX_LONG, "event", "policy", "union", BOX "/m2", "path", "/d/b", "container", SEE_ID_A, "errno", "ENOSPC", "limit",
				 "keep_free", NULL));
	KTAP_CHECK(box_run(rootless, "cd " BOX "/m2/d && echo x >>a && echo x >>b") == 0);
	KTAP_CHECK(strstr(box_text(fx->log), BOX "/m2: keep_free is not looked at"), "%s", box_text(fx->log));
	KTAP_CHECK(box_run(a, SMALL_END) == 0 && box_run(rootless, SMALL_END) == 0, "busy");
	box_comes(BOX "/m2", NULL, false);
}

/* In force before mount(2) is back, for who mounts and writes in one go; and what was charged meanwhile stays charged when the union gets its name. */
KTAP_TEST_LIMIT(policy_from_the_mounting_on, 400)
{
	struct box a, rootless;
	struct fx fx;

	fx_init(&fx, NULL);
	fx_lower(&fx, "d/first", FX_MB(1), 0644);
	fx_mount(&fx);
	fx_sh("mkdir -p " BOX);
	see_places_make();
	box_start(&a, SEE_DOCKER, false);
	box_start(&rootless, SEE_PODMAN, true);
	KTAP_REQUIRE(box_run(&a, LAYERS) == 0 && box_run(&rootless, LAYERS) == 0);
	fx_sh("cat >" POLICY " <<'END'\nversion = 1;\ndefault = \"allow\";\ndefault_budget = \"layer\";\nkeep_free = \"4M\";\n"
	      "budgets = ( { name = \"layer\"; copy_up = \"2500K\"; } );\n"
	      "rules = ( { name = \"no\"; path = \"/d/e\"; action = \"copy-up\"; verdict = \"deny\"; } );\nEND");
	box_daemon(&fx, false, POLICY);
	KTAP_CHECK(BOX_KUNION("attach", "-m", "observe", "--all") == 0 && strstr(BOX_SAID, fx.merged), "%s", BOX_SAID);
	KTAP_CHECK(box_run(&a, "cd " BOX " && " OVERLAY M " && echo x >>" M "/d/a && ! (echo x >>" M "/d/e) 2>/dev/null") == 0);
	box_comes(M, SEE_ID_A, true);
	KTAP_CHECK(fx_event_wait(&fx, 1, FX_LONG, "event", "policy", "union", M, "path", "/d/e", "container", SEE_ID_A, "rule", "no", NULL));
	KTAP_CHECK(box_run(&a, "echo x >>" M "/d/b && ! (echo x >>" M "/d/c) 2>/dev/null") == 0);
	KTAP_CHECK(fx_event_wait(&fx, 1, FX_LONG, "event", "policy", "path", "/d/c", "budget", "layer", "errno", "EDQUOT", NULL));
	/* A rootless one has its own account. */
	KTAP_CHECK(box_run(&rootless, "cd " BOX " && mount -t overlay -o lowerdir=l,upperdir=u,workdir=w,userxattr r " M " && echo x >>" M
				      "/d/c && ! (echo x >>" M "/d/e) 2>/dev/null") == 0);
	KTAP_CHECK(fx_event_wait(&fx, 1, FX_LONG, "event", "copyup", "union", M, "path", "/d/c", "container", SEE_ID_B, NULL));
	box_comes(M, SEE_ID_B, true);
	KTAP_CHECK(box_run(&a, "umount " M) == 0 && box_run(&rootless, "umount " M) == 0, "busy");
	box_comes(M, NULL, false);
	keep_free(&fx, &a, &rootless);
	box_end(&a);
	box_end(&rootless);
	box_daemon_end(&fx);
	see_places_remove();
	fx_end(&fx);
}

#define RULE(name, errno) \
	"printf 'version = 1;\ndefault = \"allow\";\nrules = ( { name = \"" name "\"; path = \"/d/e\"; action = \"copy-up\"; verdict = \"deny\"; errno = \"" \
	errno "\"; } );\n' >" POLICY

/* A union that only the kernel's side knows, while another policy comes: that is in force there, too, as on one that no rule names. */
KTAP_TEST_LIMIT(another_policy_before_it_is_found, 400)
{
	struct fx fx;
	struct box a;

	fx_init(&fx, NULL);
	fx_mount(&fx);
	fx_sh("mkdir -p " BOX);
	see_places_make();
	box_start(&a, SEE_DOCKER, false);
	KTAP_REQUIRE(box_run(&a, LAYERS) == 0);
	fx_sh(RULE("one", "ENOTTY"));
	box_daemon(&fx, false, POLICY);
	KTAP_CHECK(BOX_KUNION("attach", "-m", "observe", "--all") == 0, "%s", BOX_SAID);
	fx_stop_arm(&fx, "policy-coming");
	fx_stop_arm(&fx, "policy-in-force");
	fx_sh(RULE("two", "EDOM"));
	KTAP_REQUIRE(kill(fx.kunion, SIGHUP) == 0);
	fx_stop_wait(&fx, "policy-coming", FX_LONG);
	KTAP_CHECK(box_run(&a, "cd " BOX " && " OVERLAY M) == 0);
	fx_stop_go(&fx, "policy-coming");
	fx_stop_wait(&fx, "policy-in-force", FX_LONG);
	KTAP_CHECK(box_run(&a, "! (echo x >>" M "/d/e) 2>/dev/null") == 0, "let pass");
	KTAP_CHECK(box_run(&a, "echo x >>" M "/d/a") == 0);
	fx_stop_go(&fx, "policy-in-force");
	KTAP_CHECK(fx_event_wait(&fx, 1, FX_LONG, "event", "policy", "path", "/d/e", "container", SEE_ID_A, "rule", "two", "errno", "EDOM", NULL));
	box_comes(M, SEE_ID_A, true);
	KTAP_CHECK(box_run(&a, "! (echo x >>" M "/d/e) 2>/dev/null && umount " M) == 0);
	KTAP_CHECK(fx_event_wait(&fx, 2, FX_LONG, "event", "policy", "path", "/d/e", "container", SEE_ID_A, "rule", "two", "errno", "EDOM", NULL));
	box_comes(M, NULL, false);
	box_end(&a);
	box_daemon_end(&fx);
	see_places_remove();
	fx_end(&fx);
}

KTAP_MAIN()
