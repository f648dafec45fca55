# SPDX-License-Identifier: GPL-2.0-only
# make [V=1] [O=DIR] [SANITIZE=1]; make deps, tests, check, demo, install, uninstall, clean

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
.SECONDARY:

LIBS := libbpf fuse3 json-c
CFLAGS ?= -O2 -g
# With sanitizers gcc sees truncations and overlaps that are none.
WARN := -Wall -Wextra $(if $(CI),$(if $(SANITIZE),-Wno-format-truncation -Wno-restrict,-Werror))
comma := ,
SAN := $(if $(SANITIZE),-fsanitize=address$(comma)undefined -fno-omit-frame-pointer)
# Recipes ask pkg-config when they run, so that `make deps` works on a machine that has none of this yet.
ALL_CFLAGS = -std=gnu11 $(WARN) $(CFLAGS) $(SAN) -D_GNU_SOURCE -DKU_VERSION='"$(VERSION)"' -Iuser -Ibpf -I$(O) \
	-pthread $(shell $(PKG_CONFIG) --cflags $(LIBS))
ALL_LIBS = $(LDFLAGS) $(SAN) -pthread $(shell $(PKG_CONFIG) --libs $(LIBS)) -lm

BPF_ARCH := $(shell uname -m | sed 's/x86_64/x86/;s/aarch64/arm64/')
# Parameters are the hook's, whether used or not.
BPF_CFLAGS := -g -O2 -target bpf -mcpu=v3 -D__TARGET_ARCH_$(BPF_ARCH) -D__bpf__ -Wall -Wextra -Wno-unused-parameter \
	$(if $(CI),-Werror) -I. -Ibpf

USER_SRC := $(wildcard user/*.c)
USER_OBJ := $(USER_SRC:user/%.c=$(O)/user/%.o)
LIB_OBJ := $(filter-out $(O)/user/main.o,$(USER_OBJ)) $(O)/gate_child_blob.o
SKELS := $(O)/kunion_impl.skel.h $(O)/kunion_kfunc.skel.h

all: $(O)/kunion

$(O)/kunion: $(USER_OBJ) $(O)/gate_child_blob.o
	$(call msg,LD,$@)
	$(Q)$(CC) $(CFLAGS) -o $@ $^ $(ALL_LIBS)

$(O)/user/%.o: user/%.c | $(SKELS)
	$(call msg,CC,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

# One source, twice: the two spellings of a kfunc cannot stand in one object (KERNEL.md 4).
$(O)/kunion_impl.bpf.o: BPF_DEFS := -DKU_TASK_WORK_IMPL
$(O)/kunion_kfunc.bpf.o: BPF_DEFS :=
$(O)/kunion_impl.bpf.o $(O)/kunion_kfunc.bpf.o: bpf/kunion.bpf.c
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

-include $(wildcard $(O)/*.d $(O)/user/*.d $(O)/selftests/*.d $(O)/unit/*.d)

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

install: all
	install -D -m 0755 $(O)/kunion $(DESTDIR)$(PREFIX)/sbin/kunion

uninstall:
	rm -f $(DESTDIR)$(PREFIX)/sbin/kunion

clean:
	rm -rf $(O)

.PHONY: all tests deps check demo install uninstall clean
