// SPDX-License-Identifier: GPL-2.0-only
/* Stop points: armed only for root and only by the environment. */
#include "stop.h"

#include <time.h>

#include "unit.h"
#include "util.h"

static void *stopper(void *arg)
{
	ku_stop("here");
	__atomic_store_n((int *)arg, 1, __ATOMIC_RELEASE);
	return NULL;
}

KTAP_TEST(not_armed_nothing_happens)
{
	unit_place();
	unit_text("/tmp/stop/here.stop", "");
	KTAP_CHECK(ku_stop_init() == 0);
	ku_stop("here");
	KTAP_CHECK(unit_count("/tmp/stop") == 1);
	setenv("KUNION_STOP_DIR", "", 1);
	KTAP_CHECK(ku_stop_init() == 0);
	ku_stop("here");
	KTAP_CHECK(unit_count("/tmp/stop") == 1);
}

KTAP_TEST(stops_until_the_file_is_gone)
{
	int passed = 0;
	pthread_t t;

	unit_place();
	setenv("KUNION_STOP_DIR", "/tmp/stop", 1);
	unit_text("/tmp/stop/here.stop", "");
	KTAP_CHECK(ku_stop_init() == 0);
	ku_stop("elsewhere");
	KTAP_CHECK(!unit_exists("/tmp/stop/elsewhere.hit"));
	KTAP_REQUIRE(pthread_create(&t, NULL, stopper, &passed) == 0);
	for (int i = 0; i < 5000 && !unit_exists("/tmp/stop/here.hit"); i++)
		usleep(1000);
	KTAP_CHECK(unit_exists("/tmp/stop/here.hit"));
	usleep(30000);
	KTAP_CHECK(!__atomic_load_n(&passed, __ATOMIC_ACQUIRE), "it went on");
	KTAP_REQUIRE(unlink("/tmp/stop/here.stop") == 0);
	KTAP_CHECK(pthread_join(t, NULL) == 0 && passed);

	/* Armed by the directory, not by its name: nobody can put another one in its place. */
	unsetenv("KUNION_STOP_DIR");
	KTAP_CHECK(ku_stop_init() == 0);
	unit_text("/tmp/stop/here.stop", "");
	ku_stop("here");
	KTAP_CHECK(true, "disarmed again");
}

/* Armed again before who stands there has looked: that one goes on, and the next one stops. */
KTAP_TEST(armed_again_at_once)
{
	int passed = 0;
	pthread_t t;

	unit_place();
	setenv("KUNION_STOP_DIR", "/tmp/stop", 1);
	KTAP_CHECK(ku_stop_init() == 0);
	for (int round = 0; round < 20; round++) {
		unit_text("/tmp/stop/here.stop", "");
		passed = 0;
		KTAP_REQUIRE(pthread_create(&t, NULL, stopper, &passed) == 0);
		for (int i = 0; i < 5000 && !unit_exists("/tmp/stop/here.hit"); i++)
			usleep(1000);
		KTAP_REQUIRE(unlink("/tmp/stop/here.stop") == 0 && unlink("/tmp/stop/here.hit") == 0);
		unit_text("/tmp/stop/here.stop", "");
		for (int i = 0; i < 5000 && !__atomic_load_n(&passed, __ATOMIC_ACQUIRE); i++)
			usleep(1000);
		KTAP_REQUIRE(__atomic_load_n(&passed, __ATOMIC_ACQUIRE), "it stays");
		KTAP_REQUIRE(pthread_join(t, NULL) == 0);
		KTAP_CHECK(!unit_exists("/tmp/stop/here.hit"));
	}
}

KTAP_TEST(refused)
{
	int status;
	pid_t pid;

	unit_place();
	setenv("KUNION_STOP_DIR", "/tmp/none", 1);
	KTAP_CHECK(ku_stop_init() == -ENOENT);
	unit_text("/tmp/file", "");
	setenv("KUNION_STOP_DIR", "/tmp/file", 1);
	KTAP_CHECK(ku_stop_init() == -ENOTDIR);

	KTAP_REQUIRE(chmod("/tmp/stop", 0777) == 0);
	setenv("KUNION_STOP_DIR", "/tmp/stop", 1);
	unit_text("/tmp/stop/here.stop", "");
	pid = fork();
	if (pid == 0) {
		/* Real uid only, effective uid only, both. */
		KTAP_CHECK(setresuid(65534, 0, 0) == 0 && ku_stop_init() == -EPERM);
		KTAP_CHECK(setresuid(0, 65534, 0) == 0 && ku_stop_init() == -EPERM);
		KTAP_CHECK(setresuid(65534, 65534, 65534) == 0 && ku_stop_init() == -EPERM);
		ku_stop("here");
		KTAP_CHECK(!unit_exists("/tmp/stop/here.hit"));
		/* Without it in the environment nobody is refused. */
		unsetenv("KUNION_STOP_DIR");
		KTAP_CHECK(ku_stop_init() == 0);
		_exit(0);
	}
	KTAP_CHECK(waitpid(pid, &status, 0) == pid && status == 0);
}

KTAP_MAIN()
