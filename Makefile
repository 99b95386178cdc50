# Moonfold. `make` builds; `make demo` and `make test` also install the Debian packages that are missing.
#
#   make            build/moonfold, build/moonfold.so, build/libmoonfold.a, build/libmoonfold.so, build/moonfold.pc
#   make demo       run both examples
#   make test       everything that CI runs
#   make check      luacheck, clang-format, the rules of the layers, documentation drift
#   make asan       the specs under the address and undefined-behaviour sanitizers
#   make install    PREFIX=/usr/local DESTDIR=
#   make clean
#
#   CC=clang        another compiler        BUILD=folder    another build folder
#   NO_INSTALL=1    never call apt-get      SPEC=file       one spec file only, for make spec

BUILD ?= build
PREFIX ?= /usr/local
LUA ?= lua5.4
PKG_CONFIG ?= pkg-config
VERSION := 0.1.0

# Packages of Debian 12, with what each is for.
#   gcc make pkg-config          building          lua5.4            embeds the scripts; runs specs
#   liblua5.4-dev                the language      liblmdb-dev       the storage
#   libxxhash-dev                checksums         libjson-c-dev     parses JSON
BUILD_PACKAGES := gcc make pkg-config libc6-dev lua5.4 liblua5.4-dev liblmdb-dev libxxhash-dev libjson-c-dev
#   git   the example git_history reads a history of it
DEMO_PACKAGES := $(BUILD_PACKAGES) git
#   lua-busted: specs   lua-check, clang-format: make check   clang: the second compiler
TEST_PACKAGES := $(DEMO_PACKAGES) lua-busted lua-check clang-format clang

HAVE_DEPS := $(shell $(PKG_CONFIG) --exists lua5.4 lmdb libxxhash json-c 2>/dev/null && echo yes)
ifeq ($(HAVE_DEPS),yes)
DEP_CFLAGS := $(shell $(PKG_CONFIG) --cflags lua5.4 lmdb libxxhash json-c)
STORE_LIBS := $(shell $(PKG_CONFIG) --libs lmdb) -lpthread
JSON_LIBS := $(shell $(PKG_CONFIG) --libs json-c)
LUA_LIBS := $(shell $(PKG_CONFIG) --libs lua5.4)
endif

# -Wdeclaration-after-statement is left out: declaring at first use is the style.
WARNINGS := -Wall -Wextra -Wpedantic -Wshadow -Wundef -Wwrite-strings -Wpointer-arith -Wcast-qual \
  -Wstrict-prototypes -Wmissing-prototypes -Wold-style-definition -Wvla -Wformat=2 -Wconversion
OPTIMIZE ?= -O2 -g
SANITIZE ?=
CFLAGS_ALL := -std=c11 $(OPTIMIZE) $(WARNINGS) $(SANITIZE) -fPIC -fvisibility=hidden -D_GNU_SOURCE \
  -MMD -MP -Istore -Iruntime $(DEP_CFLAGS) $(CFLAGS)
LDFLAGS_ALL := $(SANITIZE) $(LDFLAGS)

STORE_SOURCES := $(wildcard store/*.c)
RUNTIME_SOURCES := $(filter-out runtime/main.c,$(wildcard runtime/*.c))
SCRIPTS := $(filter-out %_spec.lua,$(wildcard scripts/moonfold/*.lua scripts/domain/*.lua))
STORE_OBJECTS := $(STORE_SOURCES:%.c=$(BUILD)/%.o)
RUNTIME_OBJECTS := $(RUNTIME_SOURCES:%.c=$(BUILD)/%.o) $(BUILD)/embedded.o
OBJECTS := $(STORE_OBJECTS) $(RUNTIME_OBJECTS)

.PHONY: all
all: $(BUILD)/moonfold $(BUILD)/moonfold.so $(BUILD)/libmoonfold.a $(BUILD)/libmoonfold.so \
  $(BUILD)/moonfold.pc $(BUILD)/moonfold.d.lua

# ---- building ----

$(BUILD)/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) -c $< -o $@

$(BUILD)/embedded.c: runtime/embed.lua $(SCRIPTS)
	@mkdir -p $(@D)
	$(LUA) runtime/embed.lua $(SCRIPTS) > $@.tmp && mv $@.tmp $@

$(BUILD)/embedded.o: $(BUILD)/embedded.c Makefile
	$(CC) $(CFLAGS_ALL) -c $< -o $@

# The binary contains Lua and exports its symbols, so that C modules can be required.
$(BUILD)/moonfold: $(BUILD)/runtime/main.o $(OBJECTS)
	$(CC) $(LDFLAGS_ALL) -Wl,-E $^ -o $@ $(LUA_LIBS) $(STORE_LIBS) $(JSON_LIBS) -lm -ldl

# The module for a stock lua5.4 does not link Lua: the interpreter brings it.
$(BUILD)/moonfold.so: $(OBJECTS)
	$(CC) $(LDFLAGS_ALL) -shared $^ -o $@ $(STORE_LIBS) $(JSON_LIBS) -lm

$(BUILD)/libmoonfold.so: $(OBJECTS)
	$(CC) $(LDFLAGS_ALL) -shared -Wl,-soname,libmoonfold.so.0 $^ -o $@ $(LUA_LIBS) $(STORE_LIBS) $(JSON_LIBS) -lm

$(BUILD)/libmoonfold.a: $(OBJECTS)
	rm -f $@ && $(AR) rcs $@ $^

$(BUILD)/moonfold.pc: Makefile
	@mkdir -p $(@D)
	printf '%s\n' 'prefix=$(PREFIX)' 'includedir=$${prefix}/include' 'libdir=$${prefix}/lib' '' \
	  'Name: moonfold' 'Description: Lua-scriptable event store runtime' 'Version: $(VERSION)' \
	  'Requires: lua5.4' 'Requires.private: lmdb json-c' 'Cflags: -I$${includedir}/moonfold' \
	  'Libs: -L$${libdir} -lmoonfold' 'Libs.private: -lpthread -lm' > $@

$(BUILD)/moonfold.d.lua: scripts/moonfold/doc.lua scripts/moonfold/reference.lua
	@mkdir -p $(@D)
	$(LUA) scripts/moonfold/reference.lua types > $@.tmp && mv $@.tmp $@

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)

.PHONY: install clean
install: all
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/lib/lua/5.4 $(DESTDIR)$(PREFIX)/lib/pkgconfig \
	  $(DESTDIR)$(PREFIX)/include/moonfold $(DESTDIR)$(PREFIX)/share/moonfold
	install -m 755 $(BUILD)/moonfold $(DESTDIR)$(PREFIX)/bin/moonfold
	install -m 755 $(BUILD)/moonfold.so $(DESTDIR)$(PREFIX)/lib/lua/5.4/moonfold.so
	install -m 644 $(BUILD)/libmoonfold.a $(DESTDIR)$(PREFIX)/lib/libmoonfold.a
	install -m 755 $(BUILD)/libmoonfold.so $(DESTDIR)$(PREFIX)/lib/libmoonfold.so.0
	ln -sf libmoonfold.so.0 $(DESTDIR)$(PREFIX)/lib/libmoonfold.so
	install -m 644 store/store.h runtime/runtime.h $(DESTDIR)$(PREFIX)/include/moonfold
	sed 's|^prefix=.*|prefix=$(PREFIX)|' $(BUILD)/moonfold.pc > $(DESTDIR)$(PREFIX)/lib/pkgconfig/moonfold.pc
	install -m 644 $(BUILD)/moonfold.d.lua $(DESTDIR)$(PREFIX)/share/moonfold/moonfold.d.lua

clean:
	rm -rf $(BUILD) build-*
