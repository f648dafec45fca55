/* SPDX-License-Identifier: GPL-2.0-only */
/* Events as JSON, and as the lines that trace makes of them. */
#ifndef KU_UNIT_TRACE_EVENTS_H
#define KU_UNIT_TRACE_EVENTS_H

#include <locale.h>

#include "event.h"
#include "unit.h"

#define ID "3f2a1b0c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f708192a3b4c5d6e7f8"
#define TS "\"ts\":\"2026-11-22T18:00:00.123456Z\",\"union\":\"/merged\","
#define WHO(pid, comm) "\"pid\":" pid ",\"tid\":1,\"comm\":\"" comm "\",\"uid\":0,"
#define DOCKER "\"cgroup\":\"/docker/" ID "\",\"container\":\"" ID "\",\"runtime\":\"docker\","
#define SESSION "\"cgroup\":\"/user.slice/session-3.scope\",\"container\":\"\",\"runtime\":\"\","

#define COPYUP                                                                                                                        \
	"{\"event\":\"copyup\"," TS "\"id\":7,\"path\":\"/dir/big\",\"kind\":\"file\",\"op\":\"chmod\",\"syscall\":\"fchmodat\"," \
	WHO("1230", "chmod") DOCKER "\"engine\":\"kernel\",\"size\":536870912,\"bytes\":536870912,\"data\":\"copied\","        \
	"\"waiters\":2,\"queued_us\":0,\"lock_us\":3,\"copy_us\":1200000,\"fsync_us\":34000,\"commit_us\":0,"             \
	"\"total_us\":1234567,\"result\":\"ok\"}"
#define COPYUP_FAILED                                                                                                                 \
	"{\"event\":\"copyup\"," TS "\"id\":8,\"path\":\"/link\",\"kind\":\"symlink\",\"op\":\"rename\",\"syscall\":\"rename\"," \
	WHO("4194304", "averylongcommnm") SESSION "\"engine\":\"guard\",\"size\":3,\"bytes\":0,\"data\":\"none\","             \
	"\"waiters\":0,\"queued_us\":0,\"lock_us\":2500,\"copy_us\":12,\"fsync_us\":0,\"commit_us\":0,"                   \
	"\"total_us\":450,\"result\":\"ENOSPC\"}"
#define HOLDER(pid, comm, op)                                                                                                         \
	"\"holder_pid\":" pid ",\"holder_tid\":1,\"holder_comm\":\"" comm "\",\"holder_uid\":0,\"holder_cgroup\":\"\","           \
	"\"holder_container\":\"\",\"holder_runtime\":\"\",\"holder_op\":\"" op "\","
#define COPIER "\"copyup_id\":7,\"copyup_path\":\"/dir/big\",\"copyup_pid\":1230,\"copyup_comm\":\"chmod\","
#define WAIT_DIR                                                                                                                      \
	"{\"event\":\"wait\"," TS "\"path\":\"/dir\",\"op\":\"create\",\"syscall\":\"openat\"," WHO("1250", "sh") SESSION             \
	"\"on\":\"dir\"," HOLDER("1240", "rm", "remove") COPIER "\"wait_us\":1100000,\"result\":\"released\"}"
#define WAIT_INODE                                                                                                                    \
	"{\"event\":\"wait\"," TS "\"path\":\"/dir/big\",\"op\":\"remove\",\"syscall\":\"unlinkat\"," WHO("1240", "rm") SESSION       \
	"\"on\":\"inode\"," HOLDER("1230", "chmod", "chmod") COPIER "\"wait_us\":1100,\"result\":\"timeout\"}"
#define WAIT_UNKNOWN                                                                                                                  \
	"{\"event\":\"wait\"," TS "\"path\":\"/dir\",\"op\":\"read\",\"syscall\":\"\"," WHO("1", "ls") SESSION "\"on\":\"dir\","      \
	"\"holder_pid\":0,\"wait_us\":5,\"result\":\"released\"}"
#define CHANGED "{\"event\":\"changed\"," TS "\"path\":\"/dir/big\",\"copyup_id\":7,\"written\":4096}"
#define WRITE                                                                                                                         \
	"{\"event\":\"write\"," TS "\"path\":\"/dir/a\",\"op\":\"rename\",\"kind\":\"dir\",\"path2\":\"/dir/b\"," WHO("1", "mv")      \
	SESSION "\"x\":0}"
#define UNION                                                                                                                         \
	"{\"event\":\"union\"," TS "\"lower\":\"/l\",\"upper\":\"/u\",\"options\":\"metacopy=off,index=off\",\"upper_fs\":\"ext4\"," \
	"\"upper_free\":1234567890,\"upper_size\":98765432100,\"reflink\":true}"
#define TOTALS                                                                                                                        \
	"{\"event\":\"totals\"," TS "\"copyups\":2,\"bytes\":536870912,\"failed\":1,\"copyup_us\":1235000,\"waits\":2,"             \
	"\"wait_us\":1101100,\"missing\":0}"
#define DROPPED                                                                                                                       \
	"{\"event\":\"dropped\",\"ts\":\"2026-11-22T18:00:00.123456Z\",\"count\":12,\"copyups\":7,\"waits\":5,\"writes\":0,"       \
	"\"others\":0}"

#define HEAD "TIME         EVENT   OP           PID COMM            CONTAINER            BYTES   TOOK RESULT   PATH\n"
#define AT "18:00:00.123 "
#define L_COPYUP AT "copyup  chmod       1230 chmod           docker:3f2a1b0c4d5e   512M  1.23s ok       /merged/dir/big (fsync " \
	"34.0ms, 2 waited)\n"
#define L_FAILED AT "copyup  rename   4194304 averylongcommnm session-3.scope          -  450us ENOSPC   /merged/link (symlink, " \
	"guard, lock 2.50ms)\n"
#define L_DIR AT "wait    create      1250 sh              session-3.scope          -  1.10s released /merged/dir (dir lock) <- " \
	"rm[1240] remove <- " \
	      "chmod[1230] copying /dir/big\n"
#define L_INODE AT "wait    remove      1240 rm              session-3.scope          - 1.10ms timeout  /merged/dir/big (inode " \
	"lock) <- chmod[1230] " \
		"copying\n"
#define L_UNKNOWN AT "wait    read           1 ls              session-3.scope          -    5us released /merged/dir (dir lock) <- ?\n"
#define L_CHANGED AT "changed written        - -               -                     4.0K      - -        /merged/dir/big (since " \
	"its copy-up)\n"
#define L_WRITE AT "write   rename         1 mv              session-3.scope          -      - -        /merged/dir/a -> /dir/b (dir)\n"
#define L_UNION AT "union   /merged: metacopy=off,index=off; upper /u on ext4, 1.1G of 92G free, reflink; lower /l\n"
#define L_TOTALS AT "totals  /merged: 2 copy-ups, 512M in 1.24s, 1 failed; 2 waits, 1.10s\n"
#define L_DROPPED AT "dropped 12 events lost: 7 copy-ups, 5 waits\n"

static inline struct ku_event *event_of(const char *json)
{
	struct ku_event *e = NULL;

	KTAP_REQUIRE(ku_event_parse(json, &e) == 0, "%s", json);
	return e;
}

/* Times and letters as the lines above have them. */
static inline void begin(void)
{
	setenv("TZ", "UTC", 1);
	tzset();
	if (!setlocale(LC_CTYPE, "C.UTF-8"))
		ktap_skip("no C.UTF-8");
}

#endif
