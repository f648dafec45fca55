// SPDX-License-Identifier: GPL-2.0-only
#include "ctl/about.h"

#include <string.h>

#include "bpf.h"
#include "obs.h"
#include "util.h"

unsigned int ku_about_data_only(const char *lowerdir)
{
	unsigned int n = 0;
	bool behind = false;

	/* The first of them stands behind the first double colon; from there on each colon, single or not, begins another. */
	for (const char *c = lowerdir; *c; c++) {
		if (c[0] == '\\' && c[1]) {
			c++;
		} else if (c[0] == ':' && c[1] == ':') {
			behind = true;
			n++;
			c++;
		} else if (c[0] == ':' && behind) {
			n++;
		}
	}
	return n;
}

/* The mount's word, else the module's; "" if it has neither. */
static void ku_about_word(const char *options, const char *name, const char *param, const char *on, char to[static 16])
{
	_cleanup_free_ char *value = ku_mount_option(options, name);
	_cleanup_fclose_ FILE *f = NULL;
	char file[96];
	int c;

	to[0] = '\0';
	if (value) {
		snprintf(to, 16, "%.15s", *value ? value : "on");
		return;
	}
	snprintf(file, sizeof(file), "/sys/module/overlay/parameters/%s", param);
	f = fopen(file, "re");
	c = f ? fgetc(f) : EOF;
	if (c != EOF)
		snprintf(to, 16, "%s", c == 'Y' || c == '1' ? on : "off");
}

/* "datadir+=" of newer kernels, one for each. */
static unsigned int ku_about_datadirs(const char *options)
{
	static const char name[] = "datadir+=";
	unsigned int n = 0;

	for (const char *o = options; *o; o += strcspn(o, ","), o += *o == ',')
		n += !strncmp(o, name, strlen(name));
	return n;
}

int ku_about_options(const char *options, struct ku_about *ret)
{
	_cleanup_free_ char *lower = ku_mount_option(options, "lowerdir");
	struct ku_about a = { .work = ku_mount_option(options, "workdir") };

	if (!a.work)
		a.work = strdup("");
	if (!a.work)
		return -ENOMEM;
	ku_about_word(options, "metacopy", "metacopy", "on", a.metacopy);
	ku_about_word(options, "index", "index", "on", a.index);
	ku_about_word(options, "redirect_dir", "redirect_dir", "on", a.redirect_dir);
	ku_about_word(options, "nfs_export", "nfs_export", "on", a.nfs_export);
	ku_about_word(options, "xino", "xino_auto", "auto", a.xino);
	/* Shown only when it is not off; there since 6.6, without a parameter. */
	ku_about_word(options, "verity", "verity", "on", a.verity);
	if (!a.verity[0])
		snprintf(a.verity, sizeof(a.verity), "off");
	a.data_only = (lower ? ku_about_data_only(lower) : 0) + ku_about_datadirs(options);
	*ret = a;
	return 0;
}

static void ku_about_idmap(const struct ku_obs *layers, uint32_t dev, const char *mount_options, char to[static 24])
{
	_cleanup_free_ char *mount = ku_mount_option(mount_options, "idmapped");
	struct ku_obs_layers l = { 0 };
	bool known = layers && !ku_obs_layers(layers, dev, &l);

	snprintf(to, 24, "%s%s%s", l.lower ? "+lower" : "", l.upper ? "+upper" : "", mount ? "+mount" : "");
	if (*to)
		memmove(to, to + 1, strlen(to));
	else if (known)
		strcpy(to, "off");
}

int ku_about_read(const struct ku_union *u, const struct ku_obs *layers, struct ku_about *ret)
{
	_cleanup_fclose_ FILE *f = NULL;
	_cleanup_free_ char *line = NULL;
	struct ku_mountinfo m;
	size_t size = 0;

	f = ku_union_mountinfo(u);
	if (!f)
		return -errno;
	while (getline(&line, &size, f) >= 0) {
		int n;

		if (strtoull(line, NULL, 10) != u->mnt_id)
			continue;
		n = ku_mountinfo_parse(line, &m) ? -EINVAL : ku_about_options(m.super_options, ret);
		if (!n)
			ku_about_idmap(layers, ku_kernel_dev(u->dev), m.options, ret->idmap);
		return n;
	}
	return ferror(f) ? -EIO : -ENOENT;
}

void ku_about_free(struct ku_about *a)
{
	free(a->work);
	*a = (struct ku_about){ 0 };
}
