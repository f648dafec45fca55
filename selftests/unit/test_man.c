// SPDX-License-Identifier: GPL-2.0-only
/*
 * The manual pages say what the program does: a page for each command, the options of its --help, the fields of each event.
 * Reads user/man/, so it runs at the top of the source tree; asks the kunion that was built beside it, and looks at the pages
 * built there, if any.
 */
#include <dirent.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <limits.h>
#include <spawn.h>
#include <sys/stat.h>

#include "event.h"
#include "ktap.h"
#include "observer.h"
#include "util.h"

#define PAGES "user/man"
#define WORD_MAX 100

extern char **environ;

/* A set of words. */
struct words {
	char w[128][WORD_MAX];
	size_t n;
};

static bool has(const struct words *s, const char *word)
{
	for (size_t i = 0; i < s->n; i++)
		if (!strcmp(s->w[i], word))
			return true;
	return false;
}

static void add(struct words *s, const char *word, size_t len)
{
	char text[WORD_MAX];

	KTAP_REQUIRE(len < WORD_MAX && s->n < KU_ARRAY_SIZE(s->w), "%.*s", (int)len, word);
	memcpy(text, word, len);
	text[len] = '\0';
	if (!has(s, text))
		strcpy(s->w[s->n++], text);
}

/* Both ways: what one of them has and the other has not. */
static void same(const struct words *page, const struct words *program, const char *what)
{
	for (size_t i = 0; i < program->n; i++)
		KTAP_CHECK(has(page, program->w[i]), "%s: '%s' is not in the page", what, program->w[i]);
	for (size_t i = 0; i < page->n; i++)
		KTAP_CHECK(has(program, page->w[i]), "%s: the page has '%s', the program has not", what, page->w[i]);
	KTAP_CHECK(program->n > 0, "%s", what);
}

/* Appends a file; what `.. include::` names comes in its place. */
static void slurp(FILE *to, const char *name)
{
	static const char include[] = ".. include:: ";
	_cleanup_free_ char *path = NULL, *line = NULL;
	_cleanup_fclose_ FILE *f = NULL;
	size_t room = 0;

	KTAP_REQUIRE(asprintf(&path, PAGES "/%s", name) > 0);
	f = fopen(path, "re");
	KTAP_REQUIRE(f, "%s (this test runs at the top of the source tree)", path);
	while (getline(&line, &room, f) > 0) {
		if (strncmp(line, include, strlen(include))) {
			fputs(line, to);
			continue;
		}
		line[strcspn(line, "\n")] = '\0';
		slurp(to, line + strlen(include));
	}
}

static char *page_of(const char *name)
{
	char *text = NULL;
	size_t size;
	FILE *to = open_memstream(&text, &size);

	KTAP_REQUIRE(to);
	slurp(to, name);
	KTAP_REQUIRE(!fclose(to) && size > 0);
	return text;
}

/* A name beside this program's folder, "kunion" for O/kunion; allocated. */
static char *built(const char *name)
{
	char self[PATH_MAX], *path;
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	KTAP_REQUIRE(n > 0);
	self[n] = '\0';
	*strrchr(self, '/') = '\0';
	*strrchr(self, '/') = '\0';
	KTAP_REQUIRE(asprintf(&path, "%s/%s", self, name) > 0);
	return path;
}

/* What a program prints, stderr too. */
static char *output(const char *file, char *const argv[])
{
	posix_spawn_file_actions_t actions;
	char *text = NULL, block[4096];
	int fds[2], status = -1, err;
	size_t size;
	FILE *to = open_memstream(&text, &size);
	ssize_t n;
	pid_t pid;

	KTAP_REQUIRE(to && !pipe2(fds, O_CLOEXEC));
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, fds[1], STDOUT_FILENO);
	posix_spawn_file_actions_adddup2(&actions, fds[1], STDERR_FILENO);
	err = posix_spawnp(&pid, file, &actions, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	close(fds[1]);
	if (err == ENOENT)
		ktap_skip("no %s here", file);
	KTAP_REQUIRE(!err, "%s: %s", file, strerror(err));
	while ((n = read(fds[0], block, sizeof(block))) > 0)
		fwrite(block, 1, (size_t)n, to);
	close(fds[0]);
	KTAP_REQUIRE(waitpid(pid, &status, 0) == pid && !fclose(to));
	KTAP_REQUIRE(!status, "%s: status %x: %s", file, (unsigned int)status, text);
	return text;
}

static char *help_of(const char *command)
{
	_cleanup_free_ char *path = built("kunion");
	char word[WORD_MAX], help[] = "--help", *argv[] = { path, word, help, NULL };

	snprintf(word, sizeof(word), "%s", command ?: "--help");
	if (!command)
		argv[2] = NULL;
	unsetenv("ARGP_HELP_FMT");
	return output(path, argv);
}

/* "  run        attach to .." */
static void commands(struct words *ret)
{
	_cleanup_free_ char *help = help_of(NULL);
	char *save;

	for (char *line = strtok_r(help, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
		if (line[0] == ' ' && line[1] == ' ' && line[2] != ' ')
			add(ret, line + 2, strcspn(line + 2, " "));
	KTAP_REQUIRE(ret->n > 0);
}

/* "  -m, --mode=MODE   what it does" as "-m, --mode=MODE" */
static void options_of(const char *command, struct words *ret)
{
	_cleanup_free_ char *help = help_of(command);
	char *save;

	for (char *line = strtok_r(help, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		size_t blanks = strspn(line, " "), len = 0;
		const char *o = line + blanks;

		/* "  -m, --mode" or "      --all"; deeper is text that goes on. */
		if ((blanks != 2 && blanks != 6) || o[0] != '-')
			continue;
		if (o[1] != '-' && o[2] == ',')
			len = 4;
		add(ret, o, len + strcspn(o + len, " "));
	}
	KTAP_REQUIRE(ret->n > 0, "%s", command);
}

/* Of "-m, --mode=MODE" the name "--mode". */
static void long_names(const struct words *options, struct words *ret)
{
	for (size_t i = 0; i < options->n; i++) {
		const char *o = strstr(options->w[i], "--");

		if (o)
			add(ret, o, strcspn(o, "=["));
	}
}

KTAP_TEST(every_command_has_a_page_and_every_page_a_command)
{
	static const char tail[] = ".1.rst";
	struct words all = { 0 };
	char name[PATH_MAX], title[WORD_MAX + 16];
	const struct dirent *d;
	DIR *dir = opendir(PAGES);

	commands(&all);
	KTAP_REQUIRE(dir, PAGES " (this test runs at the top of the source tree)");
	for (size_t i = 0; i < all.n; i++) {
		_cleanup_free_ char *page = NULL;

		snprintf(name, sizeof(name), PAGES "/kunion-%s.1.rst", all.w[i]);
		if (!KTAP_CHECK(!access(name, R_OK), "%s has no page", all.w[i]))
			continue;
		page = page_of(strrchr(name, '/') + 1);
		snprintf(title, sizeof(title), "\nkunion-%s\n", all.w[i]);
		KTAP_CHECK(strstr(page, title) && strstr(page, "\n:Manual section: 1\n"), "%s: not its page", all.w[i]);
		KTAP_CHECK(strstr(page, "\nEXIT STATUS\n") && strstr(page, "\nEXAMPLES\n") && strstr(page, "\nSEE ALSO\n"),
			   "%s lacks a section", all.w[i]);
	}
	while ((d = readdir(dir))) {
		size_t len = strlen(d->d_name);

		if (len <= strlen(tail) || strcmp(d->d_name + len - strlen(tail), tail) || !strcmp(d->d_name, "kunion.1.rst"))
			continue;
		snprintf(title, sizeof(title), "%.*s", (int)(len - strlen(tail)), d->d_name);
		KTAP_CHECK(!strncmp(title, "kunion-", 7) && has(&all, title + 7), "%s is of no command", d->d_name);
	}
	closedir(dir);
}

/* kunion(1) names every command's page, with the words of --help. */
KTAP_TEST(the_overview_lists_the_commands)
{
	_cleanup_free_ char *page = page_of("kunion.1.rst"), *list = NULL;
	struct words all = { 0 };
	char text[WORD_MAX + 16], *end;

	commands(&all);
	list = strstr(page, "\nCOMMANDS\n");
	KTAP_REQUIRE(list);
	list = strdup(list);
	end = strstr(list, "\nMODES\n");
	KTAP_REQUIRE(end);
	*end = '\0';
	for (size_t i = 0; i < all.n; i++) {
		snprintf(text, sizeof(text), "\n**%s**\n", all.w[i]);
		KTAP_CHECK(strstr(list, text), "%s is not in the list", all.w[i]);
		snprintf(text, sizeof(text), "**kunion-%s**\\(1)", all.w[i]);
		KTAP_CHECK(strstr(list, text), "%s: no word of its page", all.w[i]);
	}
}

/* "**-m, --mode=MODE**" alone on a line, in the section OPTIONS. */
static void documented(const char *page, struct words *ret)
{
	for (const char *at = strstr(page, "\nOPTIONS\n"); at; at = strchr(at + 1, '\n')) {
		const char *end = strchr(at + 1, '\n');

		if (!strncmp(at, "\nEXIT STATUS\n", 13))
			return;
		if (!end || strncmp(at, "\n**-", 4) || strncmp(end - 2, "**", 2))
			continue;
		add(ret, at + 3, (size_t)(end - at - 5));
	}
}

KTAP_TEST(options_are_those_of_help)
{
	struct words all = { 0 };
	char name[WORD_MAX + 16];

	commands(&all);
	for (size_t i = 0; i < all.n; i++) {
		static struct words help, page;
		_cleanup_free_ char *text = NULL;

		help.n = page.n = 0;
		options_of(all.w[i], &help);
		snprintf(name, sizeof(name), "kunion-%s.1.rst", all.w[i]);
		text = page_of(name);
		documented(text, &page);
		same(&page, &help, all.w[i]);
	}
}

/* Which command's options are meant: that of the last "kunion COMMAND" before at, in its line or the one above, else the page's own. */
static size_t spoken_of(const struct words *all, const char *page, const char *at, size_t own)
{
	const char *begin = at;
	size_t ret = own;

	for (int lines = 0; begin > page && (begin[-1] != '\n' || ++lines < 2); begin--)
		;
	for (const char *s = begin; s < at; s++) {
		char word[WORD_MAX];

		if (strncmp(s, "kunion ", 7))
			continue;
		snprintf(word, sizeof(word), "%.*s", (int)strcspn(s + 7, " \n*`"), s + 7);
		for (size_t i = 0; i < all->n; i++)
			if (!strcmp(all->w[i], word))
				ret = i;
	}
	return ret;
}

/* No page, also in its text and examples, names an option that the command has not. */
KTAP_TEST(no_option_is_made_up)
{
	/* What --writable-paths prints is for others. */
	static const char *const others[] = { "--tmpfs", "--read-only" };
	static struct words all, names[32], options;
	char name[WORD_MAX + 16];

	commands(&all);
	KTAP_REQUIRE(all.n < KU_ARRAY_SIZE(names));
	for (size_t i = 0; i < all.n; i++) {
		options.n = 0;
		options_of(all.w[i], &options);
		long_names(&options, &names[i]);
	}
	/* The overview and the events are of no command: there all of them may be named. */
	for (size_t i = 0; i < all.n + 2; i++) {
		_cleanup_free_ char *page = NULL;
		unsigned int found = 0;

		snprintf(name, sizeof(name), i < all.n ? "kunion-%s.1.rst" : i == all.n ? "kunion.1.rst" : "kunion-events.5.rst",
			 i < all.n ? all.w[i] : "");
		page = page_of(name);
		for (const char *at = strstr(page, "--"); at; at = strstr(at, "--")) {
			size_t len = 2 + strspn(at + 2, "abcdefghijklmnopqrstuvwxyz-"), of = spoken_of(&all, page, at, i);
			char option[WORD_MAX];
			bool known = false;

			snprintf(option, sizeof(option), "%.*s", (int)len, at);
			at += len;
			if (len == 2 || option[2] == '-' || (at - len > page && strchr("-abcdefghijklmnopqrstuvwxyz", at[-(ptrdiff_t)len - 1])))
				continue;
			found++;
			for (size_t j = 0; j < KU_ARRAY_SIZE(others); j++)
				known = known || !strcmp(option, others[j]);
			if (of < all.n)
				known = known || has(&names[of], option);
			for (size_t j = 0; of >= all.n && j < all.n; j++)
				known = known || has(&names[j], option) || !strcmp(option, "--version");
			KTAP_CHECK(known, "%s: kunion %s has no %s", name, of < all.n ? all.w[of] : "", option);
		}
		KTAP_CHECK(found > 1, "%s", name);
	}
}

/* From the heading "copyup" to the next of its kind; allocated. */
static char *section(const char *page, const char *heading, const char *underline)
{
	char *begin, *end, text[WORD_MAX];

	snprintf(text, sizeof(text), "\n\n%s\n%s", heading, underline);
	begin = strstr(page, text);
	if (!KTAP_CHECK(begin, "no section %s", heading))
		return strdup("");
	begin = strdup(begin + strlen(text));
	KTAP_REQUIRE(begin);
	/* Headings are underlined, the one above this belongs to the next section. */
	for (end = strchr(begin, '\n'); end; end = strchr(end + 1, '\n'))
		if (!strncmp(end, "\n---", 4) || !strncmp(end, "\n===", 4)) {
			*end = '\0';
			break;
		}
	return begin;
}

/* The words in "**a**, **b**" of lines that begin so. */
static void fields(const char *text, struct words *ret)
{
	for (const char *line = text; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
		const char *at = line, *end;

		while (!strncmp(at, "**", 2)) {
			end = strstr(at + 2, "**");
			KTAP_REQUIRE(end);
			add(ret, at + 2, (size_t)(end - at - 2));
			at = end + 2;
			at += strspn(at, ", ");
		}
	}
}

KTAP_TEST(fields_are_those_of_the_events)
{
	static const char *const common[] = { "event", "ts" };
	_cleanup_free_ char *page = page_of("kunion-events.5.rst"), *first = section(page, "EVENTS", "====");

	for (int type = 0; type < KU_EV_TYPES; type++) {
		const struct ku_event e = { .type = (enum ku_ev_type)type };
		_cleanup_free_ char *line = ku_event_json(&e), *text = NULL;
		static struct words written, described;
		struct json_object *obj, *value;
		const char *kind;

		written.n = described.n = 0;
		KTAP_REQUIRE(line);
		obj = json_tokener_parse(line);
		KTAP_REQUIRE(obj && json_object_object_get_ex(obj, "event", &value));
		kind = json_object_get_string(value);
		json_object_object_foreach(obj, key, unused) {
			(void)unused;
			add(&written, key, strlen(key));
		}
		text = section(page, kind, "---");
		fields(text, &described);
		for (size_t i = 0; i < KU_ARRAY_SIZE(common); i++)
			add(&described, common[i], strlen(common[i]));
		same(&described, &written, kind);
		json_object_put(obj);
	}
	for (size_t i = 0; i < KU_ARRAY_SIZE(common); i++) {
		char text[WORD_MAX];

		snprintf(text, sizeof(text), "\n**%s**\n", common[i]);
		KTAP_CHECK(strstr(first, text), "%s", common[i]);
	}
}

KTAP_TEST(operations_are_named)
{
	_cleanup_free_ char *page = page_of("kunion-events.5.rst"), *text = section(page, "OPERATIONS", "====");
	char word[WORD_MAX];

	for (uint32_t op = 0; op < KU_OP_MAX; op++) {
		snprintf(word, sizeof(word), "``%s``", ku_op_name(op));
		KTAP_CHECK(strstr(text, word), "%s", word);
	}
}

/* Every example of an event line is one; it goes on for several lines in the page. */
KTAP_TEST(examples_are_events)
{
	_cleanup_free_ char *page = page_of("kunion-events.5.rst");
	unsigned int n = 0;

	for (char *at = strstr(page, "{\"event\":"), *end; at; at = strstr(end, "{\"event\":")) {
		_cleanup_free_ char *again = NULL;
		struct ku_event *e;
		char *to = at;

		end = strstr(at, "}\n");
		KTAP_REQUIRE(end);
		*++end = '\0';
		/* Broken behind commas: what is left out is no part of the line. */
		for (const char *from = at; *from; from++)
			if (*from == '\n')
				from += strspn(from + 1, " ");
			else
				*to++ = *from;
		*to = '\0';
		end++;
		if (!KTAP_CHECK(!ku_event_parse(at, &e), "%s", at))
			continue;
		again = ku_event_json(e);
		KTAP_CHECK(again && !strcmp(again, at), "%s is not %s", at, again);
		ku_event_free(e);
		n++;
	}
	KTAP_CHECK(n >= 2, "%u", n);
}

/* As built: groff has nothing to complain of, and no mark is left. */
KTAP_TEST(pages_are_shown_without_a_warning)
{
	_cleanup_free_ char *path = built("man");
	DIR *dir = opendir(path);
	const struct dirent *d;
	unsigned int n = 0;

	if (!dir)
		ktap_skip("no pages were built: no rst2man");
	while ((d = readdir(dir))) {
		_cleanup_free_ char *file = NULL, *shown = NULL;
		char *argv[] = { "groff", "-t", "-man", "-ww", "-Kutf8", "-Tutf8", "-P-cbou", "-rLL=80n", NULL, NULL };

		if (d->d_name[0] == '.')
			continue;
		KTAP_REQUIRE(asprintf(&file, "%s/%s", path, d->d_name) > 0);
		argv[8] = file;
		shown = output("groff", argv);
		KTAP_CHECK(!strstr(shown, "warning") && !strstr(shown, "error:"), "%s: %.200s", d->d_name, shown);
		KTAP_CHECK(strstr(shown, "NAME") && strstr(shown, "SEE ALSO"), "%s", d->d_name);
		KTAP_CHECK(!strstr(shown, "@VERSION") && !strstr(shown, "@EXAMPLE"), "%s", d->d_name);
		n++;
	}
	closedir(dir);
	KTAP_CHECK(n > 1, "%u", n);
}

KTAP_MAIN()
