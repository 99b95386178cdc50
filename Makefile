# Moonfold. `make` builds; `make demo` and `make test` also install the Debian packages that are missing.
#
#   make            build/moonfold, build/moonfold.so, build/libmoonfold.a, build/libmoonfold.so, build/moonfold.pc
#   make demo       run two examples, and the command line on what they leave
#   make test       everything that CI runs
#   make check      luacheck, clang-format, the rules of the layers, documentation drift
#   make faults     kills, power cuts, failing calls, planted bugs: minutes; FAULTS_ROUNDS=20
#   make soak       ten minutes of mixed work; SOAK=seconds, SOAK_SEED=, PLANT=lost (or leak, slow, scan, pin)
#   make asan       the specs under the address and undefined-behaviour sanitizers
#   make spec       one spec file: make spec SPEC=spec/20-read_spec.lua
#   make threads    two stores, four runtimes, four threads under ThreadSanitizer: THREADS_SECONDS=60
#   make fuzz       libFuzzer on everything that decodes bytes: FUZZ_SECONDS=60 each
#   make cold       specs where every file is read as those above 4 GiB are, in build/cold
#   make damage     a store damaged in thousands of ways: ROUNDS=100000 SEED=7
#   make big        the command line on a store of 1,000,000 events in 100,000 streams
#   make format     clang-format on the C files
#   make model      the model of the store, long: MODEL_OPS=200000 random operations
#   make bench      ratios to yardsticks; BENCH=--quick, BENCH=--full, BENCH="--full --keep"
#   make install    PREFIX=/usr/local DESTDIR=
#   make clean
#
#   CC=clang        another compiler        BUILD=folder    another build folder
#   NO_INSTALL=1    never call apt-get      SPEC=file       one spec file only, for make spec

BUILD ?= build
PREFIX ?= /usr/local
LUA ?= lua5.4
COMMA := ,
PKG_CONFIG ?= pkg-config
VERSION := 0.1.0

# Packages of Debian 12, with what each is for.
#   gcc make pkg-config          building          lua5.4            embeds the scripts; runs specs
#   liblua5.4-dev                the language      liblmdb-dev       the storage
#   libxxhash-dev                checksums         libedit-dev       edits lines in the REPL
#   libb2-dev                    BLAKE2b, for the hash chain of tamper-evident stores
BUILD_PACKAGES := gcc make pkg-config libc6-dev lua5.4 liblua5.4-dev liblmdb-dev libxxhash-dev libedit-dev libb2-dev
#   git   the example git_history reads a history of it
DEMO_PACKAGES := $(BUILD_PACKAGES) git
#   lua-busted: specs   lua-check, clang-format: make check   clang: the second compiler   g++: a host in C++
#   luajit: moonfold.ffi        tmux: the REPL in a terminal        luarocks: the rockspec
#   valgrind: leaks of a C host      groff-base: the manual page     locales: a host that writes 1,5
#   love, xvfb, xauth, netpbm: a game, drawn and looked at
TEST_PACKAGES := $(DEMO_PACKAGES) g++ valgrind luajit luarocks love xvfb xauth netpbm lua-busted lua-check clang-format clang tmux groff-base locales
#   libclang-rt-14-dev: libFuzzer and the sanitizers of clang
FUZZ_PACKAGES := libclang-rt-14-dev

#   nodejs: JSON.parse and a fold, which an aggregate is compared with
BENCH_PACKAGES := $(BUILD_PACKAGES) nodejs

HAVE_DEPS := $(shell $(PKG_CONFIG) --exists lua5.4 lmdb libxxhash libedit libb2 2>/dev/null && echo yes)
ifeq ($(HAVE_DEPS),yes)
DEP_CFLAGS := $(shell $(PKG_CONFIG) --cflags lua5.4 lmdb libxxhash libb2)
STORE_LIBS := $(shell $(PKG_CONFIG) --libs lmdb libb2) -lpthread
LUA_LIBS := $(shell $(PKG_CONFIG) --libs lua5.4)
EDIT_LIBS := $(shell $(PKG_CONFIG) --libs libedit)
# The binary contains Lua where there is an archive of it: calls through a shared library cost a tenth of a fold.
LUA_ARCHIVE := $(firstword $(wildcard $(shell $(PKG_CONFIG) --variable=libdir lua5.4)/liblua5.4.a \
  /usr/lib/$(shell $(CC) -print-multiarch 2>/dev/null)/liblua5.4.a))
LUA_INSIDE := $(if $(LUA_ARCHIVE),-Wl$(COMMA)--whole-archive $(LUA_ARCHIVE) -Wl$(COMMA)--no-whole-archive,$(LUA_LIBS))
endif

# -Wdeclaration-after-statement is left out: declaring at first use is the style.
WARNINGS := -Wall -Wextra -Wpedantic -Wshadow -Wundef -Wwrite-strings -Wpointer-arith -Wcast-qual \
  -Wstrict-prototypes -Wmissing-prototypes -Wold-style-definition -Wvla -Wformat=2 -Wconversion
OPTIMIZE ?= -O2 -g
SANITIZE ?=
CFLAGS_ALL := -std=c11 $(OPTIMIZE) $(WARNINGS) $(SANITIZE) -fPIC -fvisibility=hidden -D_GNU_SOURCE \
  -MMD -MP -Iruntime -Istore $(DEP_CFLAGS) $(CFLAGS)
LDFLAGS_ALL := $(SANITIZE) $(LDFLAGS)

STORE_SOURCES := $(wildcard store/*.c)
# main.c and repl.c are the binary's alone.
RUNTIME_SOURCES := $(filter-out runtime/main.c runtime/repl.c,$(wildcard runtime/*.c))
SCRIPTS := $(filter-out %_spec.lua scripts/moonfold/ffi.lua,$(wildcard scripts/moonfold/*.lua scripts/moonfold/*/*.lua scripts/domain/*.lua))
STORE_OBJECTS := $(STORE_SOURCES:%.c=$(BUILD)/%.o)
RUNTIME_OBJECTS := $(RUNTIME_SOURCES:%.c=$(BUILD)/%.o)
OBJECTS := $(STORE_OBJECTS) $(RUNTIME_OBJECTS) $(BUILD)/embedded.o
# A C host has no use for the command line, the REPL and what they show of the documentation.
LIBRARY_SCRIPTS := $(filter-out scripts/moonfold/cli/% scripts/moonfold/repl/% $(addprefix scripts/moonfold/,doc.lua new.lua reference.lua timeline.lua glob.lua decided.lua),$(SCRIPTS))
LIBRARY_OBJECTS := $(STORE_OBJECTS) $(RUNTIME_OBJECTS) $(BUILD)/embedded_library.o
# What LuaJIT hosts require.
FFI := $(BUILD)/luajit/moonfold

.PHONY: all
all: $(BUILD)/moonfold $(BUILD)/moonfold.so $(BUILD)/libmoonfold.a $(BUILD)/libmoonfold.so \
  $(BUILD)/moonfold.pc $(BUILD)/moonfold.d.lua \
  $(FFI)/ffi_declarations.lua $(FFI)/ffi.lua $(BUILD)/moonfold.1 $(BUILD)/moonfold.bash

# ---- building ----

# Without the libraries a compiler's complaint would be all there is to read.
.PHONY: libraries
libraries:
ifneq ($(HAVE_DEPS),yes)
	@echo "lua5.4, lmdb, libxxhash, libedit or libb2 is missing (pkg-config finds them not). On Debian:"
	@echo "  apt-get install $(BUILD_PACKAGES)"
	@echo "or run \"make demo\", which installs what is missing."
	@exit 1
endif

$(BUILD)/%.o: %.c Makefile | libraries
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) -c $< -o $@

# `moonfold new --like` copies the domain scripts and their specs.
TEMPLATES := $(wildcard scripts/domain/*.lua)
$(BUILD)/embedded.c: runtime/embed.lua $(SCRIPTS) $(TEMPLATES)
	@mkdir -p $(@D)
	$(LUA) runtime/embed.lua $(SCRIPTS) --texts $(TEMPLATES) > $@.tmp && mv $@.tmp $@

$(BUILD)/embedded_library.c: runtime/embed.lua $(LIBRARY_SCRIPTS)
	@mkdir -p $(@D)
	$(LUA) runtime/embed.lua $(LIBRARY_SCRIPTS) > $@.tmp && mv $@.tmp $@

$(BUILD)/embedded.o $(BUILD)/embedded_library.o: $(BUILD)/%.o: $(BUILD)/%.c Makefile
	$(CC) $(CFLAGS_ALL) -c $< -o $@

# The binary contains Lua and exports its symbols, so that C modules can be required.
$(BUILD)/moonfold: $(BUILD)/runtime/main.o $(BUILD)/runtime/repl.o $(OBJECTS)
	$(CC) $(LDFLAGS_ALL) -Wl,-E $^ -o $@ $(LUA_INSIDE) $(EDIT_LIBS) $(STORE_LIBS) -lm -ldl

# The module for a stock lua5.4 does not link Lua: the interpreter brings it.
$(BUILD)/moonfold.so: $(OBJECTS)
	$(CC) $(LDFLAGS_ALL) -shared $^ -o $@ $(STORE_LIBS) -lm

$(BUILD)/libmoonfold.so: $(LIBRARY_OBJECTS)
	$(CC) $(LDFLAGS_ALL) -shared -Wl,-soname,libmoonfold.so.0 $^ -o $@ $(LUA_LIBS) $(STORE_LIBS) -lm

$(BUILD)/libmoonfold.a: $(LIBRARY_OBJECTS)
	rm -f $@ && $(AR) rcs $@ $^

$(BUILD)/moonfold.pc: Makefile
	@mkdir -p $(@D)
	printf '%s\n' 'prefix=$(PREFIX)' 'includedir=$${prefix}/include' 'libdir=$${prefix}/lib' '' \
	  'Name: moonfold' 'Description: Lua-scriptable event store runtime' 'Version: $(VERSION)' \
	  'Requires.private: lua5.4 lmdb libb2' 'Cflags: -I$${includedir}' \
	  'Libs: -L$${libdir} -lmoonfold' 'Libs.private: -lpthread -lm' > $@

# For LuaJIT: what the preprocessor leaves of the public headers, without the system's.
$(FFI)/ffi_declarations.lua: runtime/runtime.h store/store.h Makefile
	@mkdir -p $(BUILD)/luajit/empty $(@D)
	@touch $(BUILD)/luajit/empty/stdbool.h $(BUILD)/luajit/empty/stddef.h $(BUILD)/luajit/empty/stdint.h
	(echo '-- Made by the Makefile from store.h and runtime.h.'; echo 'return [==['; \
	  $(CC) -E -P -nostdinc -U__GNUC__ -I$(BUILD)/luajit/empty -Istore runtime/runtime.h && echo ']==]') > $@.tmp && mv $@.tmp $@

$(FFI)/ffi.lua: scripts/moonfold/ffi.lua
	@mkdir -p $(@D)
	cp $< $@

$(BUILD)/moonfold.d.lua: scripts/moonfold/doc.lua scripts/moonfold/reference.lua
	@mkdir -p $(@D)
	$(LUA) scripts/moonfold/reference.lua types > $@.tmp && mv $@.tmp $@

# The manual page and completion come from the commands' own help.
PAGES := LUA_PATH='scripts/?.lua' $(LUA) scripts/moonfold/cli/pages.lua
CLI_SCRIPTS := $(wildcard scripts/moonfold/cli/*.lua)

$(BUILD)/moonfold.1: $(CLI_SCRIPTS) Makefile
	@mkdir -p $(@D)
	$(PAGES) man $(VERSION) > $@.tmp && mv $@.tmp $@

$(BUILD)/moonfold.bash: $(CLI_SCRIPTS)
	@mkdir -p $(@D)
	$(PAGES) completion > $@.tmp && mv $@.tmp $@

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)

# ---- examples in C: against the headers as they are installed ----

$(BUILD)/include/moonfold/%.h: store/%.h
	@mkdir -p $(@D)
	cp $< $@

$(BUILD)/include/moonfold/%.h: runtime/%.h
	@mkdir -p $(@D)
	cp $< $@

HEADERS := $(BUILD)/include/moonfold/store.h $(BUILD)/include/moonfold/runtime.h
$(BUILD)/dungeon: $(wildcard examples/dungeon/*.[ch]) $(HEADERS) $(BUILD)/libmoonfold.a
	$(CC) -std=c11 $(OPTIMIZE) $(WARNINGS) $(SANITIZE) -D_GNU_SOURCE -I$(BUILD)/include $(CFLAGS) $(filter %.c,$^) \
	  $(BUILD)/libmoonfold.a -o $@ $(LDFLAGS_ALL) $(LUA_LIBS) $(STORE_LIBS) -lm

# ---- packages ----

# $(call packages,LIST): installs what is missing of LIST, after saying so; quick and silent when nothing is.
define packages
@if command -v dpkg-query >/dev/null 2>&1; then \
  missing=; \
  for p in $(1); do \
    dpkg-query -W -f '$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || missing="$$missing $$p"; \
  done; \
  if [ -n "$$missing" ]; then \
    sudo=; [ "$$(id -u)" = 0 ] || sudo="sudo "; \
    if [ -n "$(NO_INSTALL)" ]; then \
      echo "missing packages:$$missing"; \
      echo "install them with: $${sudo}apt-get install -y --no-install-recommends$$missing"; exit 1; \
    fi; \
    echo "installing what is missing (NO_INSTALL=1 forbids it):"; \
    echo "  $${sudo}apt-get update && $${sudo}apt-get install -y --no-install-recommends$$missing"; \
    export DEBIAN_FRONTEND=noninteractive; \
    $${sudo}apt-get update -qq && \
    $${sudo}apt-get install -y -qq --no-install-recommends $$missing >/dev/null || \
      { echo "that failed: run the line above by hand and see"; exit 1; }; \
  fi; \
else \
  echo "this is no Debian: the packages needed are called $(1) there"; \
fi
endef

# ---- running ----

.PHONY: demo run-demo
demo:
	$(call packages,$(DEMO_PACKAGES))
	@$(MAKE) --no-print-directory --silent $(if $(filter -j% --jobserver%,$(MAKEFLAGS)),,-j$$(nproc)) all
	@$(MAKE) --no-print-directory --silent run-demo

# $(call show,ARGUMENTS): a call of the program, as it would be typed.
define show
@echo; echo "\$$ moonfold "$(subst ','"'"',$(1)); $(BUILD)/moonfold $(1)
endef

DEMO_STORE := $(BUILD)/shop.fold
run-demo:
	@rm -f $(DEMO_STORE) $(DEMO_STORE)-lock
	$(call show,run examples/git_history/main.lua)
	$(call show,run examples/shopping_cart/main.lua $(DEMO_STORE))
	$(call show,streams $(DEMO_STORE))
	$(call show,read $(DEMO_STORE) cart-ada --max 3)
	$(call show,state $(DEMO_STORE) scripts/domain/cart.lua cart-ada --at 3)
	$(call show,handle $(DEMO_STORE) scripts/domain/cart.lua cart-bob ConfirmCart) || true
	@echo; echo "Look around in it: $(BUILD)/moonfold $(DEMO_STORE)"

# ---- testing ----

# The specs of store/ in C, plain and under ThreadSanitizer; there small files are read as large ones are (cold.c).
$(BUILD)/store_spec: spec/store_spec.c $(STORE_OBJECTS)
	$(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL) $^ -o $@ $(STORE_LIBS)

$(BUILD)/beside_spec $(BUILD)/forged_spec: $(BUILD)/%: spec/%.c $(STORE_OBJECTS)
	$(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL) $(filter %.c %.o,$^) -o $@ $(STORE_LIBS)

# Its reads fail.
$(BUILD)/unreadable_spec: spec/unreadable_spec.c $(STORE_OBJECTS)
	$(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL) -Wl,--wrap=pread $(filter %.c %.o,$^) -o $@ $(STORE_LIBS)

$(BUILD)/findings_spec: spec/findings_spec.c $(STORE_OBJECTS)
	$(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL) $(filter %.c %.o,$^) -o $@ $(STORE_LIBS)

$(BUILD)/store_spec_tsan: spec/store_spec.c $(STORE_SOURCES) store/internal.h store/store.h spec/check.h
	$(CC) -std=c11 -O1 -g -fsanitize=thread -DMF__COLD_FROM=0 -D_GNU_SOURCE -Istore $(DEP_CFLAGS) $(filter %.c,$^) -o $@ $(STORE_LIBS)

# These, and the module for Lua, in build/cold, where every file is read as those above 4 GiB are.
COLD_SPECS := store_spec beside_spec findings_spec forged_spec damage
.PHONY: cold
cold: $(RUNTIME_OBJECTS) $(BUILD)/embedded.o
	@$(MAKE) --no-print-directory BUILD=$(BUILD)/cold OPTIMIZE="-O1 -g" CFLAGS="$(CFLAGS) -DMF__COLD_FROM=0" \
	  $(COLD_SPECS:%=$(BUILD)/cold/%)
	$(CC) $(LDFLAGS_ALL) -shared $(STORE_OBJECTS:$(BUILD)/%=$(BUILD)/cold/%) $^ -o $(BUILD)/cold/moonfold.so $(STORE_LIBS) -lm

# The lexer of Lua, with Lua's own compiler as the judge.
$(BUILD)/tokens_spec: spec/tokens_spec.c $(BUILD)/runtime/tokens.o
	$(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL) $(filter %.c %.o,$^) -o $@ $(LUA_LIBS)

$(BUILD)/value_spec: spec/value_spec.c $(OBJECTS)
	$(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL) $^ -o $@ $(LUA_LIBS) $(STORE_LIBS) -lm -ldl

# The C API: plain, and under ThreadSanitizer with a store and a runtime that are built for it.
$(BUILD)/runtime_spec: spec/runtime_spec.c $(OBJECTS)
	$(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL) $^ -o $@ $(LUA_LIBS) $(STORE_LIBS) -lm -ldl

$(BUILD)/queue_spec $(BUILD)/step_spec $(BUILD)/embedding_spec $(BUILD)/threads_spec: $(BUILD)/%: spec/%.c $(OBJECTS)
	$(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL) $^ -o $@ $(LUA_LIBS) $(STORE_LIBS) -lm -ldl

$(BUILD)/runtime_spec_tsan $(BUILD)/queue_spec_tsan $(BUILD)/step_spec_tsan $(BUILD)/embedding_spec_tsan $(BUILD)/threads_spec_tsan: $(BUILD)/%_tsan: spec/%.c $(STORE_SOURCES) $(RUNTIME_SOURCES) $(BUILD)/embedded.c $(wildcard store/*.h runtime/*.h spec/*.h)
	$(CC) -std=c11 -O1 -g -fsanitize=thread -D_GNU_SOURCE -Iruntime -Istore $(DEP_CFLAGS) $(filter %.c,$^) -o $@ \
	  $(LUA_LIBS) $(STORE_LIBS) -lm -ldl

# Every allocation passes through these specs, which make it fail.
$(BUILD)/memory_spec: spec/memory_spec.c $(OBJECTS)
	$(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL) -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc $^ -o $@ $(LUA_LIBS) $(STORE_LIBS) -lm -ldl

$(BUILD)/sandbox_spec: spec/sandbox_spec.c $(OBJECTS)
	$(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL) $(foreach f,malloc calloc realloc mfr_pool_alloc,-Wl,--wrap=$(f)) $^ -o $@ \
	  $(LUA_LIBS) $(STORE_LIBS) -lm -ldl

$(BUILD)/digest_spec: spec/digest_spec.c $(OBJECTS)
	$(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL) $(filter %.c %.o,$^) -o $@ $(LUA_LIBS) $(STORE_LIBS) -lm -ldl

# The fault harness stands between the store and the system, so LMDB is linked into it. FAULTS_STORE: plant.lua's copies.
FAULTS_STORE ?= store
FAULTS_SOURCES = $(wildcard spec/faults/*.c)
FAULTS_WRAPPED := link rename pwrite write writev fdatasync fsync ftruncate fallocate open mmap malloc calloc realloc posix_memalign strdup
LMDB_ARCHIVE := $(firstword $(wildcard $(shell $(PKG_CONFIG) --variable=libdir lmdb 2>/dev/null)/liblmdb.a) -llmdb)
$(BUILD)/faults/faults: $(FAULTS_SOURCES) spec/faults/faults.h $(wildcard $(FAULTS_STORE)/*.[ch])
	@mkdir -p $(@D)
	$(CC) -std=c11 -O1 -g $(filter-out -Wpedantic,$(WARNINGS)) -D_GNU_SOURCE -I$(FAULTS_STORE) $(DEP_CFLAGS) $(CFLAGS) \
	  $(filter %.c,$^) -o $@ $(FAULTS_WRAPPED:%=-Wl,--wrap=%) $(LMDB_ARCHIVE) $(shell $(PKG_CONFIG) --libs libb2) -lpthread

# Minutes of kills, power cuts, failing calls and planted bugs. `make test` has a short form of it. Where the harness
# itself plays the disk, the real one is memory: it would only be waited for. Killed writers have a quarter of the
# rounds: what they wrote is read again after each.
FAULTS_ROUNDS ?= 20
.PHONY: faults
faults:
	$(call packages,$(TEST_PACKAGES))
	@$(MAKE) --no-print-directory --silent $(BUILD)/faults/faults $(BUILD)/moonfold
	@shm=$$(mktemp -d -p /dev/shm 2>/dev/null || mktemp -d); for mode in checker power errors operations disk; do \
	  $(BUILD)/faults/faults $$mode --rounds $(FAULTS_ROUNDS) --folder $$shm || exit 1; done; rm -r $$shm
	@for mode in kill concurrency; do \
	  $(BUILD)/faults/faults $$mode --rounds $$(( ($(FAULTS_ROUNDS) + 3) / 4 )) --folder $(BUILD)/faults || exit 1; done
	$(BUILD)/moonfold run spec/faults/commands.lua $$(( $(FAULTS_ROUNDS) * 10 ))
	@$(LUA) spec/faults/plant.lua $(BUILD) "$(CC)"

# libFuzzer targets for everything that decodes bytes, each for so many seconds; spec/fuzz/run.lua lists them. What they
# find stays in build/fuzz. In this build every checksum is the same, so that a change is not refused at the first of
# them. One alone: make fuzz FUZZ_TARGETS=open FUZZ_SECONDS=3600
FUZZ_SECONDS ?= 60
FUZZ_TARGETS ?= record verify open gather salvage payload value json tokens snapshot kept import fold text
FUZZ_IN_LUA := snapshot kept import fold text
FUZZ_HEADERS := spec/fuzz/state.h spec/fuzz/file.h
FUZZ_WRAPPED := malloc calloc realloc free
FUZZ := $(BUILD)/fuzz
FUZZ_FLAGS := -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined
.PHONY: fuzz fuzz-targets
fuzz-targets:
	@$(MAKE) --no-print-directory BUILD=$(FUZZ) CC=clang OPTIMIZE="-O1 -g" SANITIZE="$(FUZZ_FLAGS)" \
	  CFLAGS=-DFUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION $(FUZZ_TARGETS:%=$(FUZZ)/%) $(FUZZ)/seeds

$(BUILD)/seeds: spec/fuzz/seeds.c spec/damage/sample.h $(STORE_OBJECTS)
	$(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL) $(filter-out %.h,$^) -o $@ $(STORE_LIBS)

FUZZ_LINK = $(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL) -fsanitize=fuzzer $(filter %.c %.o,$^) -o $@ $(LUA_LIBS) \
  $(FUZZ_WRAPPED:%=-Wl,--wrap=%) $(LMDB_ARCHIVE) $(STORE_LIBS) -lm -ldl
$(filter-out $(FUZZ_IN_LUA:%=$(BUILD)/%),$(FUZZ_TARGETS:%=$(BUILD)/%)): $(BUILD)/%: spec/fuzz/%.c spec/fuzz/memory.c $(FUZZ_HEADERS) $(OBJECTS)
	$(FUZZ_LINK)

$(FUZZ_IN_LUA:%=$(BUILD)/%): $(BUILD)/%: spec/fuzz/in_lua.c spec/fuzz/%.lua spec/fuzz/memory.c $(FUZZ_HEADERS) $(OBJECTS)
	$(FUZZ_LINK) -DSCRIPT='"$(filter %.lua,$^)"'

fuzz:
	$(call packages,$(TEST_PACKAGES) $(FUZZ_PACKAGES))
	@echo "building the fuzz targets in $(FUZZ)"
	@$(MAKE) --no-print-directory --silent fuzz-targets $(BUILD)/moonfold
	@$(FUZZ)/seeds $(FUZZ)/corpus
	@$(LUA) spec/fuzz/run.lua $(BUILD)/moonfold $(FUZZ) $(FUZZ_SECONDS) $(FUZZ_TARGETS) usage

# Damages a store in thousands of ways: what is read back is right, or the damage is told. A longer run:
# make damage ROUNDS=100000 SEED=7
SEED ?= 1
ROUNDS ?= 20000
$(BUILD)/damage: spec/damage/damage.c spec/damage/sample.h $(STORE_OBJECTS)
	$(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL) $(filter-out %.h,$^) -o $@ $(STORE_LIBS)

.PHONY: damage
damage: $(BUILD)/damage
	$(BUILD)/damage $(SEED) $(ROUNDS)

# Ten minutes of mixed work on one store: what was acknowledged is there, and costs, rate, memory and file stay level.
# SOAK=60 SOAK_SEED=7, and to see what it notices: PLANT=lost, leak, slow, scan, pin
SOAK ?= 600
SOAK_SEED ?=
PLANT ?=
.PHONY: soak
soak:
	$(call packages,$(BUILD_PACKAGES))
	@$(MAKE) --no-print-directory --silent $(BUILD)/moonfold
	$(BUILD)/moonfold run spec/faults/soak.lua $(SOAK) "$(SOAK_SEED)" $(BUILD) $(PLANT)

.PHONY: test spec check asan bench big format
test:
	$(call packages,$(TEST_PACKAGES))
	@$(LUA) spec/run.lua

# One spec file, or all of them: make spec SPEC=spec/20-read_spec.lua
SPEC ?=
spec: all
	busted $(SPEC)

check:
	$(call packages,$(TEST_PACKAGES))
	@$(LUA) spec/run.lua check

# The specs under the address and undefined-behaviour sanitizers. The module goes into a stock interpreter, which knows
# nothing of them: their runtime is preloaded. Leaks are not looked for, because busted leaves without closing Lua.
# The specs in C look for leaks.
ASAN := address,undefined
ASAN_SPECS := $(addprefix build/asan/,$(addsuffix _spec,sandbox value runtime queue step embedding threads store beside forged findings unreadable))
asan:
	$(call packages,$(TEST_PACKAGES))
	@$(MAKE) --no-print-directory BUILD=build/asan OPTIMIZE="-O1 -g -fno-omit-frame-pointer" \
	  SANITIZE="-fsanitize=$(ASAN) -fno-sanitize-recover=undefined" all $(ASAN_SPECS)
	$(if $(SPEC),,for spec in $(ASAN_SPECS); do $$spec || exit 1; done)
	ASAN_OPTIONS=detect_leaks=0:abort_on_error=0 LD_PRELOAD="$$($(CC) -print-file-name=libasan.so) $$($(CC) -print-file-name=libubsan.so)" \
	  busted --cpath='build/asan/?.so' $(SPEC)

# Two stores, four runtimes, four threads, under ThreadSanitizer. `make test` gives it two seconds.
THREADS_SECONDS ?= 60
.PHONY: threads
threads:
	$(call packages,$(TEST_PACKAGES))
	@$(MAKE) --no-print-directory --silent $(BUILD)/threads_spec_tsan
	$$(setarch -R true 2>/dev/null && echo setarch -R) $(BUILD)/threads_spec_tsan $(THREADS_SECONDS)

# The long form of spec/30-model_spec.lua; MOONFOLD_SEED=n plays a failed run again.
.PHONY: model
MODEL_OPS ?= 200000
model: all
	MOONFOLD_MODEL_OPS=$(MODEL_OPS) busted spec/30-model_spec.lua

# Ratios to yardsticks that are measured in the same run. BENCH=--quick: under a minute; BENCH=--full: 10,000,000 events.
BENCH ?=
bench:
	$(call packages,$(BENCH_PACKAGES))
	@$(MAKE) --no-print-directory --silent all
	@BUILD=$(BUILD) CC="$(CC)" $(LUA) spec/bench/run.lua $(BENCH)

big: all
	MOONFOLD_BIG=1 busted spec/61-command_line_manners_spec.lua
	MOONFOLD_BIG=1 busted spec/66-repl_many_spec.lua

format:
	clang-format -i store/*.[ch] runtime/*.[ch] spec/*.[ch] spec/faults/*.[ch] spec/damage/*.[ch]

# What a rockspec builds and installs: the module for a stock lua5.4 alone.
.PHONY: module install-module
module: $(BUILD)/moonfold.so

MODULE_DIR ?= $(PREFIX)/lib/lua/5.4
install-module: module
	install -d $(DESTDIR)$(MODULE_DIR)
	install -m 755 $(BUILD)/moonfold.so $(DESTDIR)$(MODULE_DIR)/moonfold.so

.PHONY: install clean
install: all
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/lib/lua/5.4 $(DESTDIR)$(PREFIX)/lib/pkgconfig \
	  $(DESTDIR)$(PREFIX)/include/moonfold $(DESTDIR)$(PREFIX)/share/moonfold $(DESTDIR)$(PREFIX)/share/man/man1 \
	  $(DESTDIR)$(PREFIX)/share/bash-completion/completions $(DESTDIR)$(PREFIX)/share/lua/5.1/moonfold
	install -m 755 $(BUILD)/moonfold $(DESTDIR)$(PREFIX)/bin/moonfold
	install -m 755 $(BUILD)/moonfold.so $(DESTDIR)$(PREFIX)/lib/lua/5.4/moonfold.so
	install -m 644 $(BUILD)/libmoonfold.a $(DESTDIR)$(PREFIX)/lib/libmoonfold.a
	install -m 755 $(BUILD)/libmoonfold.so $(DESTDIR)$(PREFIX)/lib/libmoonfold.so.0
	ln -sf libmoonfold.so.0 $(DESTDIR)$(PREFIX)/lib/libmoonfold.so
	install -m 644 store/store.h runtime/runtime.h $(DESTDIR)$(PREFIX)/include/moonfold
	sed 's|^prefix=.*|prefix=$(PREFIX)|' $(BUILD)/moonfold.pc > $(DESTDIR)$(PREFIX)/lib/pkgconfig/moonfold.pc
	install -m 644 $(BUILD)/moonfold.1 $(DESTDIR)$(PREFIX)/share/man/man1/moonfold.1
	install -m 644 $(BUILD)/moonfold.bash $(DESTDIR)$(PREFIX)/share/bash-completion/completions/moonfold
	install -m 644 $(FFI)/ffi.lua $(FFI)/ffi_declarations.lua $(DESTDIR)$(PREFIX)/share/lua/5.1/moonfold
	install -m 644 $(BUILD)/moonfold.d.lua $(DESTDIR)$(PREFIX)/share/moonfold/moonfold.d.lua

clean:
	rm -rf $(BUILD) build-*
