// SPDX-License-Identifier: GPL-2.0-only
/* The control socket's framing and calls, and what the daemon reads: configuration, a mount's options. */
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "ctl/about.h"
#include "ctl/conf.h"
#include "ctl/notify.h"
#include "ctl_fake.h"
#include "unit.h"
#include "util.h"

KTAP_TEST(frames_in_pieces)
{
	static const char stream[] = "{\"a\":1}\0{}\0{\"b\"";
	struct ku_frame f = { .max = 64 };
	const char *msg;
	size_t len, got = 0;

	/* Byte by byte; the literal's own NUL is left out. */
	for (size_t i = 0; i < sizeof(stream) - 1; i++) {
		KTAP_REQUIRE(ku_frame_put(&f, stream + i, 1) == 0);
		while ((msg = ku_frame_next(&f, &len))) {
			KTAP_CHECK(strlen(msg) == len && !strcmp(msg, got ? "{}" : "{\"a\":1}"), "'%s'", msg);
			got++;
		}
	}
	KTAP_CHECK(got == 2 && ku_frame_partial(&f));
	ku_frame_free(&f);
	/* All at once. */
	KTAP_REQUIRE(ku_frame_put(&f, stream, sizeof(stream) - 1) == 0);
	KTAP_CHECK((msg = ku_frame_next(&f, &len)) && len == 7);
	KTAP_CHECK((msg = ku_frame_next(&f, &len)) && len == 2);
	KTAP_CHECK(!ku_frame_next(&f, &len) && ku_frame_partial(&f));
	ku_frame_free(&f);
}

KTAP_TEST(frames_are_bounded)
{
	struct ku_frame f = { .max = 8 };
	size_t len;

	KTAP_CHECK(ku_frame_put(&f, "1234567\0", 8) == 0);
	KTAP_CHECK(ku_frame_next(&f, &len) && len == 7);
	KTAP_CHECK(ku_frame_put(&f, "12345678", 8) == 0);
	KTAP_CHECK(!ku_frame_next(&f, &len));
	KTAP_CHECK(ku_frame_put(&f, "9", 1) == -EMSGSIZE);
	KTAP_CHECK(ku_frame_put(&f, "123456789", (size_t)-1) == -EMSGSIZE);
	ku_frame_free(&f);
}

KTAP_TEST(what_is_no_json)
{
	static const char *const bad[] = { "", " ", "{", "[]", "1", "{}x", "{\"a\":}", "{\"a\":\"\xff\"}", "null", "{} {}", "\"x\"",
					   "[[[[[[[[[[[[[[[[[[[[[[[[", "{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":"
					   "{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{}}}}}}}}}}}}}}}}}}" };
	struct json_object *o;

	for (size_t i = 0; i < KU_ARRAY_SIZE(bad); i++) {
		o = ku_frame_parse(bad[i], strlen(bad[i]));
		KTAP_CHECK(!o && errno == EBADMSG, "'%s' was taken", bad[i]);
		json_object_put(o);
	}
	o = ku_frame_parse(" {\"a\": [1]} ", 12);
	KTAP_CHECK(o, "a good one was not");
	json_object_put(o);
}

KTAP_TEST(calls)
{
	static const struct {
		bool root;
		const char *msg, *answer; /* what it begins with */
	} cases[] = {
		{ false, "{\"method\":\"org.varlink.service.GetInfo\"}", "{\"parameters\":{\"vendor\":\"kunion\"" },
		{ false, "{\"method\":\"org.varlink.service.GetInterfaceDescription\",\"parameters\":{\"interface\":\"io.kunion\"}}",
		  "{\"parameters\":{\"description\":\"# The unions of a running kunion daemon" },
		{ false, "{\"method\":\"org.varlink.service.GetInterfaceDescription\",\"parameters\":{\"interface\":\"org.varlink.service\"}}",
		  "{\"parameters\":{\"description\":\"" },
		{ false, "{\"method\":\"org.varlink.service.GetInterfaceDescription\",\"parameters\":{\"interface\":\"x\"}}",
		  "{\"parameters\":{\"interface\":\"x\"},\"error\":\"org.varlink.service.InterfaceNotFound\"}" },
		{ false, "{\"method\":\"org.varlink.service.GetInterfaceDescription\",\"parameters\":{\"interface\":5}}",
		  "{\"parameters\":{\"parameter\":\"interface\"},\"error\":\"org.varlink.service.InvalidParameter\"}" },
		{ false, "{\"method\":\"io.kunion.Nothing\"}", "{\"parameters\":{\"method\":\"io.kunion.Nothing\"},\"error\":\"org.varlink.service.MethodNotFound\"}" },
		{ false, "{\"method\":\"a.b.C\"}", "{\"parameters\":{\"interface\":\"a.b\"},\"error\":\"org.varlink.service.InterfaceNotFound\"}" },
		{ false, "{\"method\":\"nothing\"}", "{\"parameters\":{\"interface\":\"nothing\"}" },
		{ false, "{\"method\":\"io.kunion.Status\",\"more\":true}", "{\"parameters\":{\"text\":\"\"}}" },
		{ false, "{\"method\":\"io.kunion.Status\",\"parameters\":null}", "{\"parameters\":{\"text\":\"\"}}" },
		{ false, "{\"method\":\"io.kunion.Status\",\"upgrade\":true}",
		  "{\"parameters\":{\"method\":\"io.kunion.Status\"},\"error\":\"org.varlink.service.MethodNotImplemented\"}" },
		{ false, "{\"method\":\"io.kunion.Status\",\"oneway\":true}", "" },
		{ false, "{\"method\":\"io.kunion.Status\",\"parameters\":{\"x\":1}}",
		  "{\"parameters\":{\"parameter\":\"x\"},\"error\":\"org.varlink.service.InvalidParameter\"}" },
		{ false, "{\"method\":\"io.kunion.Attach\",\"parameters\":{\"path\":\"/m\"}}",
		  "{\"parameters\":{},\"error\":\"org.varlink.service.PermissionDenied\"}" },
		{ false, "{\"method\":\"io.kunion.Detach\"}", "{\"parameters\":{},\"error\":\"org.varlink.service.PermissionDenied\"}" },
		{ false, "{\"method\":\"io.kunion.Reload\"}", "{\"parameters\":{},\"error\":\"org.varlink.service.PermissionDenied\"}" },
		{ true, "{\"method\":\"io.kunion.Reload\"}",
		  "{\"parameters\":{\"reason\":\"EINVAL\",\"message\":\"file:3: no\"},\"error\":\"io.kunion.Failed\"}" },
		{ true, "{\"method\":\"io.kunion.Attach\"}", "{\"parameters\":{\"parameter\":\"path\"}" },
		{ true, "{\"method\":\"io.kunion.Attach\",\"parameters\":{\"path\":\"m\"}}", "{\"parameters\":{\"parameter\":\"path\"}" },
		{ true, "{\"method\":\"io.kunion.Attach\",\"parameters\":{\"path\":\"/m\\u0000x\"}}", "{\"parameters\":{\"parameter\":\"path\"}" },
		{ true, "{\"method\":\"io.kunion.Attach\",\"parameters\":{\"path\":\"/m\",\"mode\":1}}", "{\"parameters\":{\"parameter\":\"mode\"}" },
		{ true, "{\"method\":\"io.kunion.Attach\",\"parameters\":{\"path\":\"/m\",\"min_size\":-1}}", "{\"parameters\":{\"parameter\":\"min_size\"}" },
		{ true, "{\"method\":\"io.kunion.Attach\",\"parameters\":{\"path\":\"/m\",\"min_size\":\"1\"}}", "{\"parameters\":{\"parameter\":\"min_size\"}" },
		{ true, "{\"method\":\"io.kunion.Attach\",\"parameters\":{\"path\":\"/busy\"}}",
		  "{\"parameters\":{\"reason\":\"EBUSY\",\"message\":\"/busy: another kunion is attached to it\"},\"error\":\"io.kunion.Failed\"}" },
		{ true, "{\"method\":\"io.kunion.Attach\",\"parameters\":{\"path\":\"/m\\\\xffx\",\"mode\":\"guard\",\"min_size\":5}}",
		  "{\"parameters\":{\"union\":{\"path\":\"/m\\\\xffx\"}}}" },
		{ true, "{\"method\":\"io.kunion.Detach\",\"parameters\":{\"path\":\"/other\"}}",
		  "{\"parameters\":{\"path\":\"/other\"},\"error\":\"io.kunion.NotAttached\"}" },
		{ true, "{\"method\":\"io.kunion.Detach\",\"parameters\":{\"path\":\"/m\\\\xffx\"}}", "LATER" },
		{ false, "{\"method\":\"io.kunion.Monitor\",\"more\":true}", "STREAM" },
		{ false, "{\"method\":\"io.kunion.Monitor\"}", "{\"parameters\":{},\"error\":\"org.varlink.service.ExpectedMore\"}" },
		{ false, "{\"method\":\"io.kunion.Monitor\",\"more\":true,\"oneway\":true}", "" },
		{ false, "{\"method\":\"io.kunion.Monitor\",\"more\":true,\"parameters\":{\"x\":1}}", "{\"parameters\":{\"parameter\":\"x\"}" },
		{ false, "{\"method\":\"io.kunion.Live\"}", "{\"parameters\":{\"text\":\"\"}}" },
		{ false, "{\"method\":\"io.kunion.Policy\"}", "{\"parameters\":{\"text\":\"\"}}" },
		{ true, "{\"method\":\"io.kunion.Detach\",\"parameters\":{\"path\":\"/m\\\\xffx\",\"container\":\"c0ffee\"}}", "LATER" },
		{ true, "{\"method\":\"io.kunion.Detach\",\"parameters\":{\"path\":\"/m\\\\xffx\",\"container\":\"tea\"}}", "{\"parameters\":{\"path\":" },
		{ true, "{\"method\":\"io.kunion.AttachAll\",\"parameters\":{\"pid\":0}}", "{\"parameters\":{\"parameter\":\"pid\"}" },
		{ true, "{\"method\":\"io.kunion.AttachAll\",\"parameters\":{\"pid\":4294967297}}", "{\"parameters\":{\"parameter\":\"pid\"}" },
		{ true, "{\"method\":\"io.kunion.AttachAll\",\"parameters\":{\"pid\":1,\"container\":\"x\"}}", "{\"parameters\":{\"parameter\":\"pid\"}" },
		{ true, "{\"method\":\"io.kunion.AttachAll\",\"parameters\":{\"container\":\"\"}}", "{\"parameters\":{\"parameter\":\"container\"}" },
		{ true, "{\"method\":\"io.kunion.AttachAll\",\"parameters\":{\"match\":7}}", "{\"parameters\":{\"parameter\":\"match\"}" },
		{ true, "{\"method\":\"io.kunion.AttachAll\",\"parameters\":{\"pid\":404}}", "{\"parameters\":{\"reason\":\"ESRCH\"" },
		{ true, "{\"method\":\"io.kunion.DetachAll\"}", "LATER" },
		{ true, "{\"method\":\"io.kunion.DetachAll\",\"parameters\":{\"match\":\"/m\\\\xffx\"}}", "LATER" },
		{ true, "{\"method\":\"io.kunion.DetachAll\",\"parameters\":{\"match\":\"/other/**\"}}",
		  "{\"parameters\":{\"match\":\"/other/**\"},\"error\":\"io.kunion.NotStanding\"}" },
		{ true, "{\"method\":\"io.kunion.DetachAll\",\"parameters\":{\"match\":[]}}", "{\"parameters\":{\"parameter\":\"match\"}" },
		{ false, "{\"method\":\"io.kunion.DetachAll\"}", "{\"parameters\":{},\"error\":\"org.varlink.service.PermissionDenied\"}" },
		{ false, "{\"method\":\"io.kunion.AttachAll\"}", "{\"parameters\":{},\"error\":\"org.varlink.service.PermissionDenied\"}" },
		{ true, "{\"method\":5}", "BAD" },
		{ true, "{}", "BAD" },
		{ true, "{\"method\":\"io.kunion.Status\",\"parameters\":[]}", "BAD" },
		{ true, "nonsense", "BAD" },
	};
	struct fake f = { 0 };
	const struct ku_ctl_ops ops = FAKE_OPS(&f);

	for (size_t i = 0; i < KU_ARRAY_SIZE(cases); i++) {
		const char *answer = fake_call(&ops, cases[i].root, cases[i].msg);

		KTAP_CHECK(*cases[i].answer ? !strncmp(answer, cases[i].answer, strlen(cases[i].answer)) : !*answer, "%s gives %s", cases[i].msg,
			   answer);
	}
	KTAP_CHECK(f.attached == 1 && !strcmp(f.path, "/m\xffx") && !strcmp(f.mode, "guard") && f.min_size == 5, "%u '%s' '%s'", f.attached, f.path,
		   f.mode);
}

/* Each method and error of the description is there, and the other way round. */
KTAP_TEST(description_is_true)
{
	static const char *const methods[] = { "Attach", "AttachAll", "Detach", "DetachAll", "Status", "Metrics", "Live", "Policy", "Monitor", "Reload" };
	struct fake f = { 0 };
	const struct ku_ctl_ops ops = FAKE_OPS(&f);
	const char *text = ku_ctl_interface();
	unsigned int n = 0;

	for (size_t i = 0; i < KU_ARRAY_SIZE(methods); i++) {
		char said[64], call[128];

		snprintf(said, sizeof(said), "method %s(", methods[i]);
		snprintf(call, sizeof(call), "{\"method\":\"io.kunion.%s\"}", methods[i]);
		KTAP_CHECK(strstr(text, said), "%s", said);
		KTAP_CHECK(!strstr(fake_call(&ops, true, call), "MethodNotFound"), "%s", call);
	}
	for (const char *at = text; (at = strstr(at, "\nmethod ")); at++)
		n++;
	KTAP_CHECK(n == KU_ARRAY_SIZE(methods), "%u methods", n);
	KTAP_CHECK(strstr(text, "error NotAttached (") && strstr(text, "error Failed ("));
	KTAP_CHECK(!strncmp(strstr(text, "\ninterface ") + 1, "interface io.kunion\n", 20));
}

#define CONF "/tmp/unit/kunion.conf"

static int read_conf(const char *text, struct ku_conf *c, char err[512])
{
	int n;

	unit_text(CONF, text);
	KTAP_REQUIRE(!ku_conf_init(c));
	n = ku_conf_read(c, CONF, err);
	if (n)
		ku_conf_free(c);
	else
		ku_conf_settle(c);
	return n;
}

KTAP_TEST(configuration)
{
	struct ku_conf c;
	char err[512];

	unit_place();
	KTAP_REQUIRE(!read_conf("unions = ( \"/a\", { path = \"/b//\"; mode = \"observe\"; min-size = 4096; }, { path = \"/c\"; } );\n"
				"mode = \"guard\"; min-size = \"64K\"; max-wait = 0.5; events = \"/e\"; policy = \"/p\"; socket = \"/s\";\n"
				"group = \"root\"; writes = true; verbose = 2;\n", &c, err), "%s", err);
	KTAP_CHECK(c.mode == KU_MODE_GUARD && c.min_size == 65536 && c.max_wait_ns == 500000000 && c.writes && !c.all && c.verbose == 2);
	KTAP_CHECK(!strcmp(c.events, "/e") && !strcmp(c.policy, "/p") && !strcmp(c.socket, "/s") && c.gid == 0);
	KTAP_REQUIRE(c.nunions == 3);
	KTAP_CHECK(!strcmp(c.unions[0].path, "/a") && c.unions[0].mode == KU_MODE_GUARD && c.unions[0].min_size == 65536);
	KTAP_CHECK(!strcmp(c.unions[1].path, "/b") && c.unions[1].mode == KU_MODE_OBSERVE && c.unions[1].min_size == 4096);
	KTAP_CHECK(c.unions[2].mode == KU_MODE_GUARD);
	ku_conf_free(&c);
	KTAP_REQUIRE(!read_conf("", &c, err), "%s", err);
	KTAP_CHECK(c.mode == KU_MODE_MANAGE && c.min_size == 1 << 20 && c.gid == (gid_t)-1 && !c.nunions && !c.events);
	ku_conf_free(&c);
}

KTAP_TEST(configuration_that_is_wrong)
{
	static const struct {
		const char *text, *said;
	} cases[] = {
		{ "mode = \"gard\";", ":1: mode = 'gard': \"observe\", \"guard\" or \"manage\" would be right" },
		{ "\nmode = 5;", ":2: mode = '5'" },
		{ "mod = \"guard\";", ":1: 'mod' is not known; did you mean 'mode'?" },
		{ "quux = 1;", ":1: 'quux' is not known" },
		{ "min-size = \"1X\";", ":1: min-size = '1X'" },
		{ "max-wait = 0;", ":1: max-wait = '0'" },
		{ "events = \"e\";", "an absolute path" },
		{ "group = \"no such group\";", "the name of a group" },
		{ "all = 1;", "true or false" },
		{ "verbose = 3;", "0, 1 or 2" },
		{ "socket = ( 1 );", "an absolute path" },
		{ "unions = \"/a\";", "unions: a list" },
		{ "unions = { a = 1; };", "unions: a list" },
		{ "unions = ( 5 );", "would be right" },
		{ "unions = ( \"a\" );", "an absolute path" },
		{ "unions = ( \"/a\", \"/a/\" );", "is there already" },
		{ "unions = ( { mode = \"guard\"; } );", "would be right" },
		{ "unions = ( { path = \"/a\"; size = 1; } );", "'size' is not known; a union has" },
		{ "mode = \"guard\"; unions = ( { path = \"/a\"; mode = \"manage\"; } );", "no more than mode" },
		{ "mode = ", ":1: syntax error" },
	};
	struct ku_conf c;
	char err[512];

	unit_place();
	for (size_t i = 0; i < KU_ARRAY_SIZE(cases); i++)
		if (KTAP_CHECK(read_conf(cases[i].text, &c, err) == -EINVAL, "'%s' was taken", cases[i].text))
			KTAP_CHECK(strstr(err, cases[i].said) && !strncmp(err, CONF ":", strlen(CONF ":")) && !strchr(err, '\n'), "'%s': %s", cases[i].text, err);
	KTAP_REQUIRE(!ku_conf_init(&c));
	KTAP_CHECK(ku_conf_read(&c, "/tmp/unit/none", err) == -ENOENT && strstr(err, "No such file"), "%s", err);
	ku_conf_free(&c);
}

KTAP_TEST(options_of_a_mount)
{
	struct ku_about a;

	KTAP_REQUIRE(!ku_about_options("rw,lowerdir=/a:/b::/c::/d,upperdir=/u,workdir=/w\\054x,metacopy=on,redirect_dir=nofollow,xino=on,verity=require", &a));
	KTAP_CHECK(!strcmp(a.work, "/w,x") && !strcmp(a.metacopy, "on") && !strcmp(a.redirect_dir, "nofollow") && !strcmp(a.xino, "on") &&
		   !strcmp(a.verity, "require") && a.data_only == 2, "'%s' %u", a.work, a.data_only);
	ku_about_free(&a);
	KTAP_REQUIRE(!ku_about_options("rw,lowerdir+=/a,datadir+=/b,datadir+=/c", &a));
	KTAP_CHECK(a.data_only == 2 && !*a.work && !strcmp(a.verity, "off"));
	ku_about_free(&a);
	KTAP_CHECK(ku_about_data_only("/a\\::/c") == 0 && ku_about_data_only("/a\\:\\:b:/c") == 0 && ku_about_data_only("/a::/b") == 1);
}

KTAP_TEST(notification)
{
	struct sockaddr_un u = { .sun_family = AF_UNIX, .sun_path = "@kunion-test" };
	socklen_t len = offsetof(struct sockaddr_un, sun_path) + sizeof("@kunion-test") - 1;
	int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
	char text[64] = "";

	u.sun_path[0] = '\0';
	KTAP_REQUIRE(fd >= 0 && !bind(fd, (struct sockaddr *)&u, len));
	unsetenv("NOTIFY_SOCKET");
	KTAP_CHECK(ku_notify("READY=%d", 1) == 0);
	setenv("NOTIFY_SOCKET", "relative", 1);
	KTAP_CHECK(ku_notify("READY=%d", 1) == -EINVAL);
	setenv("NOTIFY_SOCKET", "@kunion-test", 1);
	KTAP_CHECK(ku_notify("READY=%d", 1) == 0);
	KTAP_CHECK(recv(fd, text, sizeof(text) - 1, MSG_DONTWAIT) == 7 && !strcmp(text, "READY=1"), "'%s'", text);
	close(fd);
	unsetenv("WATCHDOG_USEC");
	KTAP_CHECK(ku_notify_watchdog_ns() == 0);
	setenv("WATCHDOG_USEC", "3000000", 1);
	unsetenv("WATCHDOG_PID");
	KTAP_CHECK(ku_notify_watchdog_ns() == 1500000000);
	setenv("WATCHDOG_PID", "1", 1);
	KTAP_CHECK(ku_notify_watchdog_ns() == 0);
}

KTAP_MAIN()
