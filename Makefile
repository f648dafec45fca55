# SPDX-License-Identifier: GPL-2.0-only
# make [V=1] [O=DIR] [SANITIZE=1]; make deps, man, completions, tests, check, demo, install, uninstall, dist, deb, clean

O ?= build
PREFIX ?= /usr/local
CC ?= gcc
CLANG ?= clang
BPFTOOL ?= $(firstword $(shell PATH="$$PATH:/usr/sbin" command -v bpftool) bpftool)
PKG_CONFIG ?= pkg-config
VERSION := 0.1.0

ifeq ($(V),1)
Q :=
msg = @:
else
Q := @
msg = @printf '  %-8s %s\n' "$(1)" "$(patsubst $(abspath $(O))/%,%,$(2))"
endif

.DELETE_ON_ERROR:
.SUFFIXES:
# Not all by .SECONDARY: a header that was moved would then not have made anew what included it.
.PRECIOUS: $(O)/selftests/%.o $(O)/unit/%.o

LIBS := libbpf fuse3 json-c libseccomp ncursesw libconfig
CFLAGS ?= -O2 -g
# With sanitizers gcc sees truncations and overlaps that are none.
WARN := -Wall -Wextra $(if $(CI),$(if $(SANITIZE),-Wno-format-truncation -Wno-restrict,-Werror))
comma := ,
SAN := $(if $(SANITIZE),-fsanitize=address$(comma)undefined -fno-omit-frame-pointer)
# Recipes ask pkg-config when they run, so that `make deps` works on a machine that has none of this yet.
ALL_CFLAGS = -std=gnu11 $(WARN) $(CFLAGS) $(SAN) -D_GNU_SOURCE -DKU_VERSION='"$(VERSION)"' -Iuser $(addprefix -I,$(USER_DIRS)) -Ibpf -I$(O) \
	-pthread $(shell $(PKG_CONFIG) --cflags $(LIBS))
ALL_LIBS = $(LDFLAGS) $(SAN) -pthread $(shell $(PKG_CONFIG) --libs $(LIBS)) -lm

BPF_ARCH := $(shell uname -m | sed 's/x86_64/x86/;s/aarch64/arm64/')
# Parameters are the hook's, whether used or not.
BPF_CFLAGS := -g -O2 -target bpf -mcpu=v3 -D__TARGET_ARCH_$(BPF_ARCH) -D__bpf__ -Wall -Wextra -Wno-unused-parameter \
	$(if $(CI),-Werror) -I. -Ibpf -fdebug-prefix-map=$(CURDIR)=.

# gate_child and report/page are no parts of the program, but data in it.
USER_DIRS := $(addprefix user/,cmd copy ctl judge layer policy report see session top unions)
USER_SRC := $(wildcard user/*.c $(addsuffix /*.c,$(USER_DIRS)))
USER_OBJ := $(USER_SRC:user/%.c=$(O)/user/%.o)
BLOBS := $(O)/ctl_blob.o $(O)/gate_child_blob.o $(O)/report_page_blob.o
LIB_OBJ := $(filter-out $(O)/user/main.o,$(USER_OBJ)) $(BLOBS)
SKELS := $(O)/kunion_impl.skel.h $(O)/kunion_kfunc.skel.h $(O)/kunion_none.skel.h $(O)/kunion_observe.skel.h \
	$(O)/kunion_policy_impl.skel.h $(O)/kunion_policy_kfunc.skel.h $(O)/kunion_policy_none.skel.h

# Manual pages are plain text here and built where rst2man is.
RST2MAN ?= $(shell command -v rst2man)
MAN_INCLUDED := $(wildcard user/man/options-*.rst)
MAN := $(patsubst user/man/%.rst,$(O)/man/%,$(filter-out $(MAN_INCLUDED),$(wildcard user/man/*.rst)))

all: $(O)/kunion $(if $(RST2MAN),man)

$(O)/kunion: $(USER_OBJ) $(BLOBS)
	$(call msg,LD,$@)
	$(Q)$(CC) $(CFLAGS) -o $@ $^ $(ALL_LIBS)

$(O)/user/%.o: user/%.c | $(SKELS)
	$(call msg,CC,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

# A source with them, three times: the two spellings of a kfunc cannot stand in one object (KERNEL.md 4), nor their users where there is none.
$(O)/kunion_impl.bpf.o $(O)/kunion_policy_impl.bpf.o: BPF_DEFS := -DKU_TASK_WORK_IMPL
$(O)/kunion_kfunc.bpf.o $(O)/kunion_policy_kfunc.bpf.o: BPF_DEFS :=
$(O)/kunion_none.bpf.o $(O)/kunion_policy_none.bpf.o: BPF_DEFS := -DKU_TASK_WORK_NONE
$(O)/kunion_impl.bpf.o $(O)/kunion_kfunc.bpf.o $(O)/kunion_none.bpf.o: bpf/kunion.bpf.c
$(O)/kunion_observe.bpf.o: bpf/observe.bpf.c
$(O)/kunion_policy_impl.bpf.o $(O)/kunion_policy_kfunc.bpf.o $(O)/kunion_policy_none.bpf.o: bpf/policy.bpf.c
$(O)/kunion_impl.bpf.o $(O)/kunion_kfunc.bpf.o $(O)/kunion_none.bpf.o $(O)/kunion_observe.bpf.o \
$(O)/kunion_policy_impl.bpf.o $(O)/kunion_policy_kfunc.bpf.o $(O)/kunion_policy_none.bpf.o:
	$(call msg,BPF,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CLANG) $(BPF_CFLAGS) $(BPF_DEFS) -MMD -MP -MF $(@:.o=.d) -MT $@ -c -o $@ $<

$(O)/%.skel.h: $(O)/%.bpf.o
	$(call msg,SKEL,$@)
	$(Q)$(BPFTOOL) gen skeleton $< name $* > $@

# The gate's child is its own tiny program, served from memory: no library, so that nothing is read behind its back.
$(O)/gate_child: user/gate_child/gate_child.c
	$(call msg,CC,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) -Os -static -nostdlib -ffreestanding -fno-stack-protector -fno-pie -no-pie -fno-asynchronous-unwind-tables -s \
		-Wl,--build-id=none -Wl,-z,noseparate-code -o $@ $<

$(O)/gate_child_blob.o: user/gate_child/blob.S $(O)/gate_child
	$(call msg,AS,$@)
	$(Q)$(CC) -DBLOB='"$(O)/gate_child"' -c -o $@ $<

# The page lets nothing run but its own style and script, told by their hashes. `env`: sh's own printf need not know \x.
page_hash = "$$(env printf %b "$$(sha256sum user/report/page/$(1) | cut -c 1-64 | sed 's/../\\x&/g')" | base64)"

$(O)/report_page_blob.o: user/report/page/blob.S user/report/page/page.css user/report/page/page.js
	$(call msg,AS,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) -DCSS='"user/report/page/page.css"' -DJS='"user/report/page/page.js"' \
		-DCSS_HASH="\"$(call page_hash,page.css)\"" -DJS_HASH="\"$(call page_hash,page.js)\"" -c -o $@ $<

$(O)/ctl_blob.o: user/ctl/blob.S user/ctl/io.kunion.varlink
	$(call msg,AS,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) -DINTERFACE='"user/ctl/io.kunion.varlink"' -c -o $@ $<

man: $(MAN)

# --strict: what it would only warn of is an error.
$(O)/man/%: user/man/%.rst $(MAN_INCLUDED)
	$(call msg,MAN,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(or $(RST2MAN),rst2man) --strict --no-generator --no-datestamp $< $@
	$(Q)sed -i -e 's/@VERSION@/$(VERSION)/' -e '/^\.TH/a .nh' $@

-include $(wildcard $(O)/*.d $(O)/user/*.d $(O)/user/*/*.d $(O)/selftests/*.d $(O)/unit/*.d)

# Tests: found, not listed.
TEST_SRC := $(wildcard selftests/test_*.c)
TEST_BIN := $(TEST_SRC:selftests/%.c=$(O)/selftests/%)
BENCH_BIN := $(patsubst selftests/%.c,$(O)/selftests/%,$(wildcard selftests/bench_*.c))
FIXTURE_OBJ := $(patsubst selftests/%.c,$(O)/selftests/%.o,$(wildcard selftests/fx_*.c))
UNIT_SRC := $(wildcard selftests/unit/test_*.c)
UNIT_BIN := $(UNIT_SRC:selftests/unit/%.c=$(O)/unit/%)

$(O)/selftests/%.o: selftests/%.c
	$(call msg,CC,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) -Iselftests -MMD -MP -c -o $@ $<

$(O)/selftests/test_%: $(O)/selftests/test_%.o $(FIXTURE_OBJ)
	$(call msg,LD,$@)
	$(Q)$(CC) $(CFLAGS) -o $@ $^ $(ALL_LIBS)

$(O)/selftests/bench_%: $(O)/selftests/bench_%.o
	$(call msg,LD,$@)
	$(Q)$(CC) $(CFLAGS) -o $@ $^ $(ALL_LIBS)

$(O)/unit/%.o: selftests/unit/%.c | $(SKELS)
	$(call msg,CC,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) -Iselftests -MMD -MP -c -o $@ $<

$(O)/unit/test_%: $(O)/unit/test_%.o $(LIB_OBJ)
	$(call msg,LD,$@)
	$(Q)$(CC) $(CFLAGS) -o $@ $^ $(ALL_LIBS)

tests: all $(TEST_BIN) $(BENCH_BIN) $(UNIT_BIN)

deps:
	$(Q)scripts/deps

# What these two need is installed first: they are the README's, for a fresh machine. A new make then finds it.
check demo: deps
	$(Q)O=$(O) scripts/$@

# All three from what --help says.
COMPLETIONS := $(O)/completions/kunion $(O)/completions/_kunion $(O)/completions/kunion.fish

$(COMPLETIONS) &: $(O)/kunion scripts/completions
	$(call msg,GEN,$(O)/completions)
	$(Q)scripts/completions $(O)/kunion $(O)/completions

completions: $(COMPLETIONS)

SHARE_DIR = $(DESTDIR)$(PREFIX)/share
MAN_DIR = $(SHARE_DIR)/man
UNIT_DIR = $(DESTDIR)$(PREFIX)/lib/systemd/system
TMPFILES_DIR = $(DESTDIR)$(PREFIX)/lib/tmpfiles.d
CONF_DIR = $(DESTDIR)/etc/kunion

# A configuration that is there is its owner's.
install: all completions
	install -D -m 0755 $(O)/kunion $(DESTDIR)$(PREFIX)/sbin/kunion
	install -d $(UNIT_DIR)
	sed 's,@SBINDIR@,$(PREFIX)/sbin,' scripts/deploy/kunion.service >$(UNIT_DIR)/kunion.service
	install -D -m 0644 scripts/deploy/kunion.tmpfiles $(TMPFILES_DIR)/kunion.conf
	[ -e $(CONF_DIR)/kunion.conf ] || install -D -m 0644 scripts/deploy/kunion.conf $(CONF_DIR)/kunion.conf
	install -D -m 0644 $(O)/completions/kunion $(SHARE_DIR)/bash-completion/completions/kunion
	install -D -m 0644 $(O)/completions/_kunion $(SHARE_DIR)/zsh/vendor-completions/_kunion
	install -D -m 0644 $(O)/completions/kunion.fish $(SHARE_DIR)/fish/vendor_completions.d/kunion.fish
ifneq ($(RST2MAN),)
	install -d $(MAN_DIR)/man1 $(MAN_DIR)/man5
	install -m 0644 $(filter %.1,$(MAN)) $(MAN_DIR)/man1
	install -m 0644 $(filter %.5,$(MAN)) $(MAN_DIR)/man5
else
	@echo 'The manual pages are left out: rst2man is missing (Debian: python3-docutils).'
endif

uninstall:
	rm -f $(DESTDIR)$(PREFIX)/sbin/kunion $(UNIT_DIR)/kunion.service $(TMPFILES_DIR)/kunion.conf
	rm -f $(SHARE_DIR)/bash-completion/completions/kunion $(SHARE_DIR)/zsh/vendor-completions/_kunion \
		$(SHARE_DIR)/fish/vendor_completions.d/kunion.fish
	rm -f $(patsubst $(O)/man/%,$(MAN_DIR)/man1/%,$(filter %.1,$(MAN))) $(patsubst $(O)/man/%,$(MAN_DIR)/man5/%,$(filter %.5,$(MAN)))

# What is committed, the same bytes each time.
dist:
	$(Q)mkdir -p $(O)/dist
	$(Q)git archive --format=tar --prefix=kunion-$(VERSION)/ HEAD | gzip -9n >$(O)/dist/kunion-$(VERSION).tar.gz
	@echo $(O)/dist/kunion-$(VERSION).tar.gz

deb: all man completions
	$(Q)scripts/deb $(O) $(VERSION)

clean:
	rm -rf $(O)

.PHONY: all man completions tests deps check demo install uninstall dist deb clean
