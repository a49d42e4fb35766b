# SPDX-License-Identifier: MIT
#
# The front door: `make help` says what there is. Every target sets up what it lacks by itself, once.
# What builds the C is Meson (meson.build), what builds the package is pip with meson-python
# (pyproject.toml); this file only calls them.

PYTHON ?= python3
MODEL ?=
PROMPT ?=

# The programs behind `make demo` and `make bench`.
DEMO ?= examples/demo.py
BENCH ?= bench/run.py

VENV := .venv
BUILD := build
DONE := $(VENV)/.done
PY := $(VENV)/bin/python
# (MAKEFLAGS: make's job slots are not for Ninja, which looks for them there.)
RUN := MAKEFLAGS= PATH="$(CURDIR)/$(VENV)/bin:$$PATH"
PIP := $(RUN) $(PY) -m pip --disable-pip-version-check --no-input -qq
MESON := $(RUN) $(PY) -m mesonbuild.mesonmain
NINJA := $(RUN) ninja --quiet

# The builds that `make test-llama` uses.
LLAMA_KINDS := llama-plain llama-asan llama-tsan llama-lint
LLAMA_PACKAGE := $(BUILD)/llama-package
VOCABULARIES := $(BUILD)/vocabularies

export PIP_ROOT_USER_ACTION := ignore

.DEFAULT_GOAL := all
# Ninja is what runs in parallel; pip and apt-get must not.
.NOTPARALLEL:
.DELETE_ON_ERROR:
.PHONY: all package install vocabularies demo test msan test-python-asan test-python-debug test-pythons coverage test-llama \
    valgrind bench bench-c bench-llama bench-pages bench-check compare fuzz torture soak litmus model \
    reference docs dist lint format clean distclean help chromium python-3.11

# ---- what a person asks for ----------------------------------------------------------------------

all: $(BUILD)/release/build.ninja $(DONE)/package
	@echo "-- building the library ($(BUILD)/release)"
	@$(NINJA) -C $(BUILD)/release
	@echo "-- done: the library is in $(BUILD)/release/src, the Python package in $(VENV)"

package: $(DONE)/package

# The library, its headers and the command.
PREFIX ?= /usr/local
install: all
	@$(MESON) configure $(BUILD)/release -Dprefix="$(abspath $(PREFIX))" -Dlibdir=lib
	@$(MESON) install -C $(BUILD)/release --quiet
	@echo "-- installed in $(abspath $(PREFIX)); where programs do not find it there, set"
	@echo "   PKG_CONFIG_PATH=$(abspath $(PREFIX))/lib/pkgconfig LD_LIBRARY_PATH=$(abspath $(PREFIX))/lib"

vocabularies: $(VOCABULARIES)/.done

# MODEL and PROMPT reach the program through the environment, so that any character may be in them.
demo: export BURBLE_MODEL := $(value MODEL)
demo: export BURBLE_PROMPT := $(value PROMPT)
demo: python-3.11 $(DONE)/demo $(DONE)/package
	@set --; \
	if [ -n "$$BURBLE_MODEL" ]; then set -- "$$@" --model="$$BURBLE_MODEL"; fi; \
	if [ -n "$$BURBLE_PROMPT" ]; then set -- "$$@" --prompt="$$BURBLE_PROMPT"; fi; \
	exec $(PY) $(DEMO) "$$@"

# Every stage runs, also after one that failed; the closing line counts them all.
test: python-3.11 $(BUILD)/plain/build.ninja $(BUILD)/asan/build.ninja $(BUILD)/tsan/build.ninja \
      $(DONE)/demo $(DONE)/test $(DONE)/bench $(DONE)/mistral $(DONE)/package
	@failed=0; \
	rm -rf $(BUILD)/reports; mkdir -p $(BUILD)/reports; \
	eval "$$C_TESTS"; \
	for kind in plain asan tsan; do c_tests $$kind || failed=1; done; \
	echo "-- Python tests"; \
	$(PY) -m pytest --quiet --junit-xml=$(BUILD)/reports/python.xml tests/python || failed=1; \
	$(PY) -c "$$SUM_UP" $(BUILD)/reports/plain.json $(BUILD)/reports/asan.json \
	    $(BUILD)/reports/tsan.json $(BUILD)/reports/python.xml || failed=1; \
	exit $$failed

# The C tests once more, under MSan, which only clang has.
msan: $(BUILD)/msan/build.ninja
	@mkdir -p $(BUILD)/reports
	@eval "$$C_TESTS"; failed=0; \
	c_tests msan || failed=1; \
	$(PY) -c "$$SUM_UP" $(BUILD)/reports/msan.json || failed=1; \
	exit $$failed

# The Python tests, but the longest, with an extension under ASan + UBSan. What CPython and PyTorch keep
# until the end would drown any leak; test_references.py looks for those.
test-python-asan: $(BUILD)/python-asan/build.ninja $(DONE)/demo $(DONE)/test $(DONE)/mistral
	@mkdir -p $(BUILD)/reports
	@eval "$$PYTHON_TESTS"; \
	rm -f $(BUILD)/reports/python-asan.log.*; \
	log=$(CURDIR)/$(BUILD)/reports/python-asan.log; \
	export PYTHONMALLOC=malloc ASAN_OPTIONS=detect_leaks=0:log_path=$$log; \
	export UBSAN_OPTIONS=print_stacktrace=1:log_path=$$log; \
	preload="$$(cc -print-file-name=libasan.so) $$(cc -print-file-name=libstdc++.so)"; \
	python_tests python-asan env LD_PRELOAD="$$preload" $(PY) -X faulthandler -m pytest tests/python \
	    $(NOT_UNDER_ASAN:%=--ignore=tests/python/test_%.py) -k 'not ($(LONG_UNDER_ASAN))' || \
	    { cat $$log.* >&2 2>/dev/null; exit 1; }

# The tests of the extension with a debug build of CPython, which checks itself and counts references.
test-python-debug: $(BUILD)/python-debug/build.ninja $(DONE)/demo $(DONE)/test
	@mkdir -p $(BUILD)/reports
	@eval "$$PYTHON_TESTS"; \
	python_tests python-debug $(DEBUG_PYTHON) -X dev -m pytest \
	    $(UNDER_DEBUG:%=tests/python/test_%.py)

UNDER_DEBUG := references log iterator async reentrancy

# The tests that need no PyTorch, with each of these interpreters that is there, in an environment of its
# own below $(BUILD)/pythons: those on the PATH, and those of pyenv.
PYTHONS ?= $(foreach n,9 10 11 12 13 14 13t 14t,python3.$(n) $(wildcard $(HOME)/.pyenv/versions/*/bin/python3.$(n)))
test-pythons: $(DONE)/venv | $(BUILD)/.system-cc
	@mkdir -p $(BUILD)/reports; rm -f $(BUILD)/reports/pythons-*
	@failed=0; \
	for python in $(PYTHONS); do sh -c "$$TEST_PYTHON_SH" - $$python || failed=1; done; \
	$(PY) -c "$$SUM_UP" $(BUILD)/reports/pythons-*.xml || failed=1; \
	exit $$failed

NOT_UNDER_ASAN := cli cli_run compare docs_c earliness exactness examples generate install parity references sources types window
LONG_UNDER_ASAN := gpt2 or llama2 or llama3 or phi3 or qwen2 or falcon or ten_thousand or is_small or real_model_stops

# Which lines and branches of src/ the C tests reach (gcovr.cfg says what counts); fails below the goal.
# docs/testing.md lists what they do not reach.
coverage: $(BUILD)/coverage/build.ninja $(DONE)/coverage
	@mkdir -p $(BUILD)/reports $(BUILD)/coverage/html
	@find $(BUILD)/coverage -name '*.gcda' -delete
	@eval "$$C_TESTS"; c_tests coverage
	@$(VENV)/bin/gcovr --html-details $(BUILD)/coverage/html/index.html --fail-under-line 95 --fail-under-branch 85
	@echo "-- $(BUILD)/coverage/html/index.html"

# libburble-llama, which needs llama.cpp: its tests, and those checks of `make lint` that compile it.
test-llama: $(LLAMA_KINDS:%=$(BUILD)/%/build.ninja) $(LLAMA_PACKAGE)/.done $(DONE)/demo $(DONE)/test $(DONE)/lint \
            $(DONE)/package $(VOCABULARIES)/.done
	@failed=0; \
	mkdir -p $(BUILD)/reports; rm -f $(BUILD)/reports/llama*; \
	echo "-- cc -Werror, clang-tidy ($(BUILD)/llama-lint)"; \
	$(NINJA) -k 0 -C $(BUILD)/llama-lint || failed=1; \
	$(VENV)/bin/clang-tidy --quiet -p $(BUILD)/llama-lint $(LLAMA_FILES) 2>$(BUILD)/clang-tidy.log || \
	    { failed=1; cat $(BUILD)/clang-tidy.log; }; \
	eval "$$C_TESTS"; \
	for kind in llama-plain llama-asan llama-tsan; do c_tests $$kind --suite llama || failed=1; done; \
	echo "-- the same, with each call failed in turn (llama-asan)"; \
	$(BUILD)/llama-asan/tests/torture/torture_llama tests/fuzz/corpus models || failed=1; \
	echo "-- Python tests"; \
	BURBLE_TEST_COMPLETE=$(BUILD)/llama-plain/tests/llama/complete PYTHONPATH=$(LLAMA_PACKAGE) \
	    $(PY) -m pytest --quiet --junit-xml=$(BUILD)/reports/llama.xml tests/llama || failed=1; \
	$(PY) -c "$$SUM_UP" $(BUILD)/reports/llama-plain.json $(BUILD)/reports/llama-asan.json \
	    $(BUILD)/reports/llama-tsan.json $(BUILD)/reports/llama.xml || failed=1; \
	exit $$failed

# The C tests of `make test` that are no races, which TSan sees: what is read before it is written, also in
# libraries that no sanitizer was compiled into, and what leaks. (What is reached only from its inside, as
# test_stream_memory's allocator makes it, is not lost.)
VALGRIND := valgrind --quiet --error-exitcode=9 --leak-check=full --errors-for-leak-kinds=definite,indirect \
    --show-leak-kinds=definite,indirect
valgrind: $(BUILD)/plain/build.ninja $(BUILD)/.system-valgrind
	@mkdir -p $(BUILD)/reports; \
	eval "$$C_TESTS"; \
	c_tests plain --suite unit --suite fuzz --timeout-multiplier 20 --wrapper='$(VALGRIND)' && \
	$(PY) -c "$$SUM_UP" $(BUILD)/reports/plain.json

bench: python-3.11 $(BUILD)/bench/build.ninja $(DONE)/demo $(DONE)/test $(DONE)/bench $(DONE)/package
	@$(NINJA) -C $(BUILD)/bench
	@$(PY) $(BENCH) --json bench/results.json --pages docs

# Writes bench/results.json into the page and the plots, without measuring.
bench-pages: python-3.11 $(DONE)/demo $(DONE)/test $(DONE)/bench $(DONE)/package
	@$(PY) $(BENCH) --read bench/results.json --pages docs

# Fails where a goal is missed by more than the noise.
bench-check: python-3.11 $(BUILD)/bench/build.ninja $(DONE)/demo $(DONE)/test $(DONE)/bench $(DONE)/package
	@$(NINJA) -C $(BUILD)/bench
	@$(PY) $(BENCH) --quick --check

bench-c: $(BUILD)/bench/build.ninja
	@$(NINJA) -C $(BUILD)/bench bench/wakeup
	@$(PY) $(BENCH) --only wakeup

bench-llama: $(BUILD)/llama-release/build.ninja $(DONE)/bench
	@$(NINJA) -C $(BUILD)/llama-release
	@$(PY) $(BENCH) --only llama --programs $(BUILD)/llama-release/bench

# (trio is one of the tests' requirements.)
compare: python-3.11 $(DONE)/demo $(DONE)/test $(DONE)/bench $(DONE)/package
	@$(PY) tests/compare/run.py

C_FILES = $(sort $(shell find include src python/ext tests bench examples tools fuzz \
    \( -name '*.c' -o -name '*.h' \) 2>/dev/null))
PY_FILES = python/burble $(wildcard examples)
# What includes llama.cpp's header, which only `make test-llama` brings.
LLAMA_FILES = $(wildcard src/engine/llama_*.c)

# Each target for T seconds, two of them at a time, from its corpus on; what is new stays in $(BUILD).
# A finding is a file $(BUILD)/fuzz-TARGET/crash-…, to be run with $(BUILD)/fuzz/tests/fuzz/fuzz_TARGET.
T ?= 60
FUZZ_TARGETS := $(notdir $(wildcard tests/fuzz/corpus/*))
define FUZZ_SH
found=$(BUILD)/fuzz-$$1
mkdir -p $$found
failed=0
$(BUILD)/fuzz/tests/fuzz/fuzz_$$1 -max_total_time=$(T) -rss_limit_mb=2048 -timeout=10 \
    -artifact_prefix=$$found/ -print_final_stats=1 $$found tests/fuzz/corpus/$$1 >$$found.log 2>&1 ||
    { failed=1; tail -n 40 $$found.log; }
echo "-- $$1: $$(sed -n 's/^stat::number_of_executed_units: *//p' $$found.log) inputs"
exit $$failed
endef
export FUZZ_SH
fuzz: $(BUILD)/fuzz/build.ninja
	@$(NINJA) -C $(BUILD)/fuzz $(FUZZ_TARGETS:%=tests/fuzz/fuzz_%)
	@printf '%s\n' $(FUZZ_TARGETS) | xargs -P 2 -I TARGET sh -c "$$FUZZ_SH" - TARGET

# Each call of the system failed in turn, beneath the C API and the command, and beneath the package.
torture: $(BUILD)/plain/build.ninja $(BUILD)/asan/build.ninja $(DONE)/package
	@$(NINJA) -C $(BUILD)/asan tests/torture/torture
	@$(NINJA) -C $(BUILD)/plain tests/torture/fail_python.so
	@failed=0; \
	echo "-- C, under ASan + UBSan"; \
	$(BUILD)/asan/tests/torture/torture tests/fuzz/corpus models || failed=1; \
	echo "-- Python"; \
	$(PY) tests/torture/torture.py $(BUILD)/plain/tests/torture/fail_python.so || failed=1; \
	exit $$failed

# For T seconds, in C and in Python at the same time. SEED= repeats what a run has printed.
SEED ?=
soak: $(BUILD)/plain/build.ninja $(DONE)/package $(DONE)/test
	@$(NINJA) -C $(BUILD)/plain tests/soak/soak
	@$(BUILD)/plain/tests/soak/soak $(T) $(SEED) >$(BUILD)/soak.log 2>&1 & c=$$!; \
	failed=0; \
	echo "-- Python"; \
	$(PY) tests/soak/soak.py $(T) $(SEED) || failed=1; \
	wait $$c || failed=1; \
	echo "-- C"; cat $(BUILD)/soak.log; \
	exit $$failed

# For T seconds as it is and as long under TSan; then without its fences, where wake-ups must get lost.
litmus: $(BUILD)/plain/build.ninja $(BUILD)/tsan/build.ninja
	@$(NINJA) -C $(BUILD)/plain tests/soak/litmus tests/soak/litmus_no_fence
	@$(NINJA) -C $(BUILD)/tsan tests/soak/litmus
	@eval "$$LITMUS_SH"
define LITMUS_SH
set -e
$(BUILD)/plain/tests/soak/litmus $(T) $(SEED)
echo "-- under TSan"
$$(setarch -R true 2>/dev/null && echo setarch -R) $(BUILD)/tsan/tests/soak/litmus $(T) $(SEED)
echo "-- without the fences: lost wake-ups"
status=0
$(BUILD)/plain/tests/soak/litmus_no_fence $(T) $(SEED) || status=$$?
if [ $$status -ne 3 ]; then # what litmus.c calls ALL_LOST; all else is a failure, too
    echo "without the fences not each race lost a wake-up (exit $$status): the check cannot fail" >&2
    exit 1
fi
endef
export LITMUS_SH

# The stream's protocols, against all that threads and memory may do: docs/testing.md.
model: $(BUILD)/.system-python $(BUILD)/.system-model
	@$(PYTHON) tests/model/run.py $(BUILD)/model

# The reference of the C API, from the comments in its headers; what Doxygen finds wrong is an error.
reference: $(BUILD)/.system-doxygen
	@rm -rf $(BUILD)/reference
	@doxygen docs/reference/Doxyfile
	@echo "-- $(BUILD)/reference/html/index.html"

# The pages of docs/ as a site, with both references. What Sphinx finds wrong, a dead link say, is an error.
docs: python-3.11 reference $(DONE)/test $(DONE)/docs $(DONE)/package
	@rm -rf $(BUILD)/site
	@$(PY) -m sphinx --quiet --fail-on-warning --keep-going --builder html \
	    --doctree-dir $(BUILD)/.doctrees docs $(BUILD)/site
	@echo "-- $(BUILD)/site/index.html"

# What is uploaded, in dist/: made of the last commit, as pip and meson-python do it, and checked.
dist: python-3.11 $(DONE)/build $(DONE)/test $(DONE)/lint $(DONE)/dist | \
    $(BUILD)/.system-cc $(BUILD)/.system-cmocka $(BUILD)/.system-git
	@rm -rf dist $(BUILD)/dist
	@git diff --quiet HEAD || echo "-- what is not committed is left out"
	@echo "-- building the distributions"
	@$(RUN) $(PY) -m build --outdir $(BUILD)/dist . >$(BUILD)/dist.log 2>&1 && \
	    $(RUN) $(PY) -m auditwheel repair --wheel-dir dist $(BUILD)/dist/*.whl >>$(BUILD)/dist.log 2>&1 || \
	    { cat $(BUILD)/dist.log >&2; exit 1; }
	@mv $(BUILD)/dist/*.tar.gz dist
	@$(PY) -m pytest --quiet tests/dist
	@ls dist

# Each file by itself, with all that #if may choose. An empty loop's `continue` says that it is meant.
CPPCHECK := --quiet --error-exitcode=1 --std=c11 --enable=warning,style,performance,portability \
    --inline-suppr --suppress=redundantContinue --library=posix,gnu,python -Iinclude -Isrc -Ipython/ext \
    src python/ext tools bench examples

lint: python-3.11 $(BUILD)/.system-cppcheck $(DONE)/lint $(DONE)/test $(BUILD)/lint/build.ninja
	@failed=0; \
	check() { echo "-- $$1"; shift; "$$@" || failed=1; }; \
	check "ruff check" $(PY) -m ruff check --quiet .; \
	check "ruff format" $(PY) -m ruff format --quiet --diff .; \
	check "mypy --strict" $(PY) -m mypy --no-error-summary $(PY_FILES); \
	check "clang-format" $(VENV)/bin/clang-format --dry-run --Werror $(C_FILES); \
	check "cppcheck" cppcheck $(CPPCHECK); \
	check "cc -Werror ($(BUILD)/lint)" env $(NINJA) -k 0 -C $(BUILD)/lint; \
	check "clang-tidy" sh -c 'printf "%s\n" "$$@" | xargs -P 2 -n 1 \
	    $(VENV)/bin/clang-tidy --quiet -p $(BUILD)/lint 2>$(BUILD)/clang-tidy.log \
	    || { cat $(BUILD)/clang-tidy.log >&2; exit 1; }' - \
	    $(filter-out $(LLAMA_FILES) bench/llama_%.c,$(filter src/%.c python/ext/%.c tools/%.c bench/%.c,$(C_FILES))); \
	exit $$failed

# The browser of test_browser.py, which is skipped without one.
chromium: $(BUILD)/.system-chromium

format: python-3.11 $(DONE)/lint
	@echo "-- clang-format, ruff"
	@$(VENV)/bin/clang-format -i $(C_FILES)
	@$(PY) -m ruff check --quiet --fix-only . && $(PY) -m ruff format --quiet .

clean:
	@rm -rf $(BUILD) dist $(DONE)/package
	@find . -path ./$(VENV) -prune -o -name __pycache__ -prune -exec rm -rf {} +

distclean: clean
	@rm -rf $(VENV) .cache .mypy_cache .pytest_cache .ruff_cache .hypothesis

help:
	@echo 'make             build all: the C library in $(BUILD)/release, the Python package in $(VENV)/'
	@echo 'make install     install the library, its headers and the command; PREFIX=<folder> (now: $(PREFIX))'
	@echo 'make demo        stream a small model'"'"'s text; MODEL=<name or folder> PROMPT="<text>"'
	@echo 'make test        the C tests (plain, ASan + UBSan, TSan), then the Python tests'
	@echo 'make msan        the C tests under MSan (clang; builds jansson and cmocka for it, once)'
	@echo 'make test-python-asan, test-python-debug'
	@echo '                 the Python tests with the extension under ASan + UBSan, in a debug CPython'
	@echo 'make test-pythons  the package with every Python from 3.9 on that is here; PYTHONS=<interpreters>'
	@echo 'make coverage    what the C tests reach of src/; fails below 95 % of lines, 85 % of branches'
	@echo 'make valgrind    the unit tests in C once more under valgrind, in some minutes'
	@echo 'make test-llama  the engine on llama.cpp (built once, in some minutes, and kept in .cache/)'
	@echo 'make bench       measure, and write bench/results.json, the plots and the pages (12 minutes)'
	@echo 'make bench-check measure quickly, and fail where a goal is missed by more than the noise'
	@echo 'make bench-c     measure the hand-over in C; make bench-llama: the engine beside llama.cpp alone'
	@echo 'make compare     see what burble and its peers do when something goes wrong'
	@echo 'make fuzz        feed the loaders, detokenizer, stop filter and stream anything, T=<seconds> each'
	@echo '                 (now: $(T))'
	@echo 'make torture     fail every allocation and system call in turn'
	@echo 'make soak        open, read, cancel and abandon streams at random for T seconds'
	@echo 'make litmus      make the threads race where the fences decide, for T seconds'
	@echo 'make model       check the concurrency of streams under all interleavings (Relacy, spin)'
	@echo 'make reference   the reference of the C API, as HTML, in $(BUILD)/reference'
	@echo 'make docs        the documentation as a site, in $(BUILD)/site'
	@echo 'make dist        the source distribution and a wheel, checked, in dist/'
	@echo 'make chromium    install the browser that some of the Python tests use where it is there'
	@echo 'make lint        check style, types and warnings'
	@echo 'make format      format the sources'
	@echo 'make clean       remove what was built; make distclean: $(VENV)/ and .cache/, too'
	@echo
	@echo 'Each installs what it lacks. PYTHON=<interpreter> (now: $(PYTHON)) chooses the Python that'
	@echo '$(VENV)/ is made with; CC and CFLAGS choose the compiler.'

# ---- the system: what apt-get can bring, where a probe shows that it is missing -------------------

# What can be needed: cc, cxx, python, cmocka, jansson, loops, ck, chromium, cppcheck, debug, doxygen, git,
# fuzz, msan, model, valgrind. `lack` notes what is missing, in words, and Debian's packages for it.
define SYSTEM_SH
lack() {
    missing="$$missing$${missing:+; }$$1"
    packages="$$packages $$2"
}
probe_cc() {
    printf '%s\n' '#include <pthread.h>' '#include <stdatomic.h>' 'int main(void) { return 0; }' |
        $${CC:-cc} -std=c11 -x c -fsyntax-only - 2>/dev/null || lack 'a C11 compiler' 'gcc libc6-dev'
}
probe_cxx() {
    printf '%s\n' '#include <vector>' 'int main() { return std::vector<int>{0}[0]; }' |
        $${CXX:-c++} -std=c++17 -x c++ -fsyntax-only - 2>/dev/null || lack 'a C++17 compiler' g++
}
probe_python() {
    if ! command -v $(PYTHON) >/dev/null 2>&1; then
        lack 'Python 3.9 or above, as $(PYTHON)' 'python3 python3-dev python3-venv'
        return
    fi
    version=$$($(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 9))' || {
        echo "burble needs Python 3.9 or above; $(PYTHON) is $$version. Choose another: make PYTHON=python3.12" >&2
        exit 1
    }
    $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null ||
        lack "$(PYTHON)'s modules venv and ensurepip" "python$$version-venv"
    $(PYTHON) -c 'import os, sys, sysconfig
sys.exit(not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))' ||
        lack "$(PYTHON)'s C headers (Python.h)" "python$$version-dev"
}
probe_cmocka() {
    command -v pkg-config >/dev/null || lack pkg-config pkg-config
    pkg-config --exists cmocka 2>/dev/null || lack cmocka libcmocka-dev
}
probe_jansson() {
    command -v pkg-config >/dev/null || lack pkg-config pkg-config
    pkg-config --exists 'jansson >= 2.14' 2>/dev/null || lack 'jansson 2.14 or above' libjansson-dev
}
probe_loops() {
    command -v pkg-config >/dev/null || lack pkg-config pkg-config
    pkg-config --exists libuv 2>/dev/null || lack libuv libuv1-dev
    pkg-config --exists libevent 2>/dev/null || lack libevent libevent-dev
    pkg-config --exists glib-2.0 2>/dev/null || lack GLib libglib2.0-dev
}
probe_ck() {
    command -v pkg-config >/dev/null || lack pkg-config pkg-config
    pkg-config --exists ck 2>/dev/null || lack "Concurrency Kit" libck-dev
}
probe_chromium() {
    command -v chromium >/dev/null || command -v chromium-browser >/dev/null || lack Chromium chromium
}
probe_valgrind() {
    command -v valgrind >/dev/null || lack valgrind valgrind
}
probe_doxygen() {
    command -v doxygen >/dev/null || lack doxygen doxygen
}
probe_debug() {
    version=$$($(PY) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    command -v python$${version}d >/dev/null ||
        lack "a debug build of Python $$version" "python$$version-dbg"
}
probe_msan() {
    echo 'int main(void) { return 0; }' |
        clang -fsanitize=memory -x c -o $(BUILD)/.msan - 2>/dev/null ||
        lack 'clang with MSan' 'clang libclang-rt-dev llvm'
    command -v cmake >/dev/null || lack cmake cmake
}
probe_cppcheck() {
    command -v cppcheck >/dev/null || lack cppcheck cppcheck
}
probe_git() {
    command -v git >/dev/null || lack git git
}
probe_fuzz() {
    printf '%s\n' '#include <stddef.h>' 'int LLVMFuzzerTestOneInput(const char *data, size_t size);' \
        'int LLVMFuzzerTestOneInput(const char *data, size_t size) { return data == NULL && size; }' |
        clang -fsanitize=fuzzer,address,undefined -x c -o $(BUILD)/.fuzz - 2>/dev/null ||
        lack 'clang with libFuzzer' 'clang libclang-rt-dev'
}
probe_model() {
    command -v spin >/dev/null || lack spin spin
    printf '%s\n' '#include <relacy/relacy.hpp>' |
        g++ -std=gnu++17 -w -x c++ -fsyntax-only - 2>/dev/null || lack 'g++ and Relacy' 'g++ relacy-dev'
    command -v gcc >/dev/null || lack gcc 'gcc libc6-dev'
}
probe() {
    missing= packages=
    for part; do "probe_$$part"; done
    [ -z "$$missing" ]
}
need() {
    probe "$$@" && return
    if command -v apt-get >/dev/null; then
        echo "-- installing Debian packages:$$packages"
        sudo=
        [ "$$(id -u)" -eq 0 ] || sudo=sudo
        { $$sudo apt-get -qq update &&
            $$sudo env DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o DPkg::Lock::Timeout=300 \
                install --no-install-recommends $$packages; } >$(BUILD)/apt-get.log 2>&1 ||
            cat $(BUILD)/apt-get.log >&2
        probe "$$@" && return
    fi
    echo "burble needs: $$missing. Please install it (on Debian:$$packages) and call make again." >&2
    exit 1
}
endef
export SYSTEM_SH

$(BUILD)/.system-%:
	@mkdir -p $(BUILD)
	@eval "$$SYSTEM_SH"; need $*
	@touch $@

# ---- the virtual environment, and what is installed there -----------------------------------------

# $(DONE)/venv holds the name of the Python that $(VENV) was made with.
made_with := $(strip $(file <$(DONE)/venv))
ifneq ($(made_with),)
ifneq ($(filter command environment,$(origin PYTHON)),)
ifeq ($(filter clean distclean help,$(MAKECMDGOALS)),)
ifneq ($(made_with),$(PYTHON))
$(error $(VENV)/ was made with PYTHON=$(made_with), not $(PYTHON); `make distclean` removes it)
endif
endif
endif
endif

$(DONE)/venv: | $(BUILD)/.system-python
	@if ! $(PY) -m pip --version >/dev/null 2>&1; then \
	    echo "-- making $(VENV)/ ($$($(PYTHON) --version))"; \
	    $(PYTHON) -m venv --clear $(VENV); \
	fi
	@mkdir -p $(DONE)
	@echo '$(PYTHON)' >$@

$(DONE)/build $(DONE)/demo $(DONE)/test $(DONE)/bench $(DONE)/coverage $(DONE)/lint $(DONE)/docs $(DONE)/dist: \
$(DONE)/%: requirements/%.txt $(DONE)/venv
	@echo "-- installing Python packages ($<)"
	@$(PIP) install -r $<
	@touch $@

# After the others, which bring most of what it needs.
$(DONE)/mistral: requirements/mistral.txt $(DONE)/demo $(DONE)/test
	@echo "-- installing Python packages ($<)"
	@$(PIP) install --no-deps -r $<
	@touch $@

# Folders are listed, too: a file that was removed counts as a change.
PACKAGE_SOURCES := $(shell find include src python tools pyproject.toml meson.build meson.options LICENSE \
    README.md -name __pycache__ -prune -o -print 2>/dev/null)

$(DONE)/package: $(PACKAGE_SOURCES) $(DONE)/build | $(BUILD)/.system-cc
	@echo "-- building and installing the Python package"
	@$(PIP) install --no-build-isolation --no-deps --force-reinstall \
	    --config-settings=build-dir=$(BUILD)/python .
	@touch $@

# What some of the pinned packages need.
python-3.11: $(DONE)/venv
	@$(PY) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "`make $(MAKECMDGOALS)` needs Python \
	3.11 or above, for the packages that it uses; $(VENV)/ has %d.%d. Choose another: make distclean, then \
	make $(MAKECMDGOALS) PYTHON=<interpreter>" % sys.version_info[:2])'

# ---- llama.cpp, for libburble-llama ----------------------------------------------------------------

# From the sources in a Python package; the wheel that they become is kept in $(WHEELS), which several
# checkouts may share. It is for any x86-64 processor with AVX2 and FMA (or any AArch64 one), and has
# threads of its own rather than OpenMP's. (pip's cache would give out a wheel made with other options.)
LLAMA := $(BUILD)/llama
WHEELS ?= .cache/wheels
LLAMA_CMAKE := -DCMAKE_PROJECT_llama_cpp_INCLUDE=$(CURDIR)/requirements/llama.cmake -DLLAVA_BUILD=OFF \
    -DGGML_NATIVE=OFF -DGGML_OPENMP=OFF -DGGML_CCACHE=OFF
LLAMA_INSTALL := install --no-deps --no-index --find-links=$(WHEELS) --target=$(LLAMA) \
    -r requirements/llama.txt

# The package's own llama.pc names the folder that it was built in.
$(LLAMA)/lib/pkgconfig/llama.pc: requirements/llama.txt requirements/llama.cmake $(DONE)/venv | \
    $(BUILD)/.system-cc $(BUILD)/.system-cxx
	@rm -rf $(LLAMA)
	@mkdir -p $(WHEELS)
	@$(PIP) $(LLAMA_INSTALL) 2>/dev/null || { \
	    echo "-- building llama.cpp (some minutes; $(BUILD)/llama.log)"; \
	    CMAKE_ARGS="$(LLAMA_CMAKE)" CMAKE_BUILD_PARALLEL_LEVEL=2 nice -n 5 env $(PIP) wheel --no-deps \
	        --no-cache-dir --no-binary=llama-cpp-python --wheel-dir=$(BUILD)/wheels -r requirements/llama.txt \
	        >$(BUILD)/llama.log 2>&1 || { cat $(BUILD)/llama.log >&2; exit 1; }; \
	    mv $(BUILD)/wheels/llama_cpp_python-*.whl $(WHEELS)/ && $(PIP) $(LLAMA_INSTALL); \
	}
	@sed -i "s|$$(sed -n 's/^prefix=//p' $@)|$(CURDIR)/$(LLAMA)|" $@

# ---- a debug build of CPython: Debian's, of the version that $(VENV) has ------------------------------

DEBUG_PYTHON = $(shell $(PY) -c 'import sys; print("python%d.%dd" % sys.version_info[:2])')

$(BUILD)/debug-python.ini: $(DONE)/venv | $(BUILD)/.system-debug
	@printf '[binaries]\npython = "%s"\n' $(DEBUG_PYTHON) | tr '"' "'" >$@

# ---- jansson and cmocka, for MSan -------------------------------------------------------------------

MSAN_LIBRARIES := $(BUILD)/msan-libraries

$(MSAN_LIBRARIES)/lib/pkgconfig/cmocka.pc: tests/sanitizers/msan_libraries.sh | $(BUILD)/.system-msan
	@echo "-- building jansson and cmocka for MSan"
	@rm -rf $(MSAN_LIBRARIES)
	@MAKEFLAGS= tests/sanitizers/msan_libraries.sh $(MSAN_LIBRARIES) >$(BUILD)/msan.log 2>&1 || \
	    { cat $(BUILD)/msan.log >&2; exit 1; }

# The vocabularies of llama.cpp's own tests, from the sources in the same package, for tests/llama/test_pieces.py.
# (To download sources, pip looks into them, for which it installs what they are built with.)
$(VOCABULARIES)/.done: requirements/llama.txt $(DONE)/venv
	@echo "-- getting llama.cpp's test vocabularies ($(VOCABULARIES))"
	@rm -rf $(VOCABULARIES)
	@mkdir -p $(VOCABULARIES)
	@$(PIP) download --no-deps --no-binary=llama-cpp-python --dest=$(VOCABULARIES) -r requirements/llama.txt
	@tar -xzf $(VOCABULARIES)/llama_cpp_python-*.tar.gz -C $(VOCABULARIES) --strip-components=4 --wildcards \
	    '*/models/ggml-vocab-*.gguf'
	@rm $(VOCABULARIES)/llama_cpp_python-*.tar.gz
	@touch $@

# The Python package with llama.cpp, in a folder of its own: tests put it onto the path, also without $(VENV)'s
# packages.
$(LLAMA_PACKAGE)/.done: $(PACKAGE_SOURCES) $(DONE)/build $(LLAMA)/lib/pkgconfig/llama.pc
	@echo "-- building the Python package with llama.cpp ($(LLAMA_PACKAGE))"
	@rm -rf $(LLAMA_PACKAGE)
	@PKG_CONFIG_PATH="$(CURDIR)/$(LLAMA)/lib/pkgconfig:$$PKG_CONFIG_PATH" \
	    $(PIP) install --no-build-isolation --no-deps --target=$(LLAMA_PACKAGE) \
	    --config-settings=build-dir=$(BUILD)/python-llama --config-settings=setup-args=-Dllama=enabled .
	@touch $@

# ---- the C builds: one folder under $(BUILD) for each kind ----------------------------------------

release_options := -Dbuildtype=release -Djson=enabled -Dpython=disabled -Dtests=disabled
bench_options := $(release_options) -Dbench=true
plain_options := -Djson=enabled -Dpython=disabled -Dtests=enabled
asan_options := $(plain_options) -Db_sanitize=address,undefined -Db_lundef=false
tsan_options := $(plain_options) -Db_sanitize=thread -Db_lundef=false
lint_options := -Dwerror=true -Djson=enabled -Dpython=enabled -Dtests=enabled -Dbench=true
fuzz_options := $(plain_options) -Dfuzz=true -Db_sanitize=address,undefined -Db_lundef=false
fuzz_env := CC=clang
msan_options := $(plain_options) -Db_sanitize=memory -Db_lundef=false \
    -Dc_args="-fsanitize-memory-track-origins -fsanitize-ignorelist=$(CURDIR)/tests/sanitizers/msan.ignore"
msan_env := CC=clang CXX=clang++ PKG_CONFIG_PATH="$(CURDIR)/$(MSAN_LIBRARIES)/lib/pkgconfig:$$PKG_CONFIG_PATH"
python-asan_options := -Dpython=enabled -Djson=disabled -Dtests=disabled -Db_sanitize=address,undefined \
    -Db_lundef=false -Dpython.platlibdir=$(CURDIR)/$(BUILD)/python-asan/site
python-debug_options := -Dbuildtype=debug -Dpython=enabled -Djson=disabled -Dtests=disabled \
    --native-file=$(BUILD)/debug-python.ini -Dpython.platlibdir=$(CURDIR)/$(BUILD)/python-debug/site
coverage_options := -Dbuildtype=debug -Djson=enabled -Dpython=enabled -Dtests=enabled \
    -Dllama=enabled -Dexamples=disabled -Db_coverage=true -Dc_args=-fprofile-update=atomic \
    -Dpython.platlibdir=$(CURDIR)/$(BUILD)/coverage/site

# The same with libburble-llama.
llama-release_options := $(release_options) -Dllama=enabled
llama-plain_options := $(plain_options) -Dllama=enabled -Dexamples=enabled
llama-asan_options := $(asan_options) -Dllama=enabled -Dexamples=enabled
llama-tsan_options := $(tsan_options) -Dllama=enabled -Dexamples=enabled
llama-lint_options := $(plain_options) -Dllama=enabled -Dexamples=enabled -Dwerror=true
$(foreach kind,llama-release coverage $(LLAMA_KINDS),$(eval $(kind)_env := \
    PKG_CONFIG_PATH="$(CURDIR)/$(LLAMA)/lib/pkgconfig:$$$$PKG_CONFIG_PATH"))

KINDS := release bench plain asan tsan msan lint fuzz coverage python-asan python-debug \
    llama-release $(LLAMA_KINDS)
$(KINDS:%=$(BUILD)/%/build.ninja): $(BUILD)/%/build.ninja: $(DONE)/build Makefile | \
    $(BUILD)/.system-cc $(BUILD)/.system-jansson
	@echo "-- configuring $(BUILD)/$*"
	@rm -rf $(BUILD)/$*
	@$($*_env) $(MESON) setup $($*_options) $(BUILD)/$* >$(BUILD)/meson.log 2>&1 || \
	    { cat $(BUILD)/meson.log >&2; rm -rf $(BUILD)/$*; exit 1; }
$(patsubst %,$(BUILD)/%/build.ninja,plain asan tsan lint fuzz coverage $(LLAMA_KINDS)): | $(BUILD)/.system-cmocka
$(patsubst %,$(BUILD)/%/build.ninja,llama-release coverage $(LLAMA_KINDS)): $(LLAMA)/lib/pkgconfig/llama.pc
$(LLAMA_KINDS:%=$(BUILD)/%/build.ninja): | $(BUILD)/.system-loops
$(BUILD)/fuzz/build.ninja: | $(BUILD)/.system-fuzz
$(BUILD)/bench/build.ninja: | $(BUILD)/.system-ck
$(BUILD)/python-debug/build.ninja: $(BUILD)/debug-python.ini
$(BUILD)/msan/build.ninja: $(MSAN_LIBRARIES)/lib/pkgconfig/cmocka.pc tests/sanitizers/msan.ignore

# ---- the C tests of one build: c_tests KIND [what else `meson test` is given] -------------------------

define C_TESTS
c_tests() {
    kind=$$1
    shift
    echo "-- C tests ($$kind)"
    $(NINJA) -C $(BUILD)/$$kind || return 1
    case $$kind in
    *tsan) if setarch -R true 2>/dev/null; then set -- "$$@" --wrapper='setarch -R'; fi ;;
    esac
    rm -f $(BUILD)/$$kind/meson-logs/testlog*
    status=0
    $(MESON) test -C $(BUILD)/$$kind --no-rebuild --quiet --print-errorlogs --timeout-multiplier 4 \
        "$$@" >$(BUILD)/reports/$$kind.log 2>&1 || { status=1; cat $(BUILD)/reports/$$kind.log; }
    cp $(BUILD)/$$kind/meson-logs/testlog*.json $(BUILD)/reports/$$kind.json || status=1
    return $$status
}
endef
export C_TESTS

# ---- the Python tests with another build of the extension: python_tests KIND COMMAND… -----------------

# The command is that of pytest. It finds burble where the build was installed, and the rest in $(VENV).
define PYTHON_TESTS
python_tests() {
    kind=$$1
    shift
    echo "-- Python tests ($$kind)"
    $(NINJA) -C $(BUILD)/$$kind || return 1
    $(MESON) install -C $(BUILD)/$$kind --no-rebuild --quiet --tags python-runtime || return 1
    status=0
    PYTHONPATH=$(CURDIR)/$(BUILD)/$$kind/site:$$(echo $(CURDIR)/$(VENV)/lib/python*/site-packages) \
        BURBLE_TEST_TIMEOUT=600 "$$@" --quiet --junit-xml=$(BUILD)/reports/$$kind.xml || status=1
    $(PY) -c "$$SUM_UP" $(BUILD)/reports/$$kind.xml || status=1
    return $$status
}
endef
export PYTHON_TESTS

# ---- the package and its tests with another Python, $1 -----------------------------------------------

define TEST_PYTHON_SH
version=$$("$$1" -c 'import sys; print("%d.%d.%d%s" % (*sys.version_info[:3], sys.abiflags))' 2>/dev/null) || {
    echo "-- $$1: not here"
    exit 0
}
venv=$(BUILD)/pythons/$$version
[ ! -e $(BUILD)/reports/pythons-$$version.xml ] || exit 0 # by another name
echo "-- Python $$version"
[ -x $$venv/bin/python ] || "$$1" -m venv $$venv || exit 1
PATH="$(CURDIR)/$$venv/bin:$$PATH"
python -m pip --disable-pip-version-check --no-input -qq install -r requirements/build.txt \
    -r requirements/pythons.txt &&
    MAKEFLAGS= python -m pip --disable-pip-version-check --no-input -qq install --no-build-isolation --no-deps \
        --force-reinstall --config-settings=build-dir=$$venv/build . &&
    python -m pytest --quiet -o cache_dir=$$venv/cache --junit-xml=$(BUILD)/reports/pythons-$$version.xml tests/python
endef
export TEST_PYTHON_SH

# ---- the closing line of `make test` --------------------------------------------------------------

# Adds up Meson's logs (*.json) and pytest's report (*.xml). A program counts as the cases that it
# printed as TAP; where it failed although none of them did (a leak, a race), as one failure more. A
# stage without any case has failed.
define SUM_UP
import json
import re
import sys
import xml.etree.ElementTree as tree

def meson(path):
    for line in open(path, encoding="utf-8"):
        program = json.loads(line)
        output = program.get("stdout", "")
        cases = []
        for not_ok, rest in re.findall(r"^(not )?ok \d+(.*)$$", output, re.MULTILINE):
            cases.append("skipped" if "# SKIP" in rest else "failed" if not_ok else "passed")
        plan = re.search(r"^1\.\.(\d+)$$", output, re.MULTILINE)
        if plan:
            cases += ["failed"] * (int(plan.group(1)) - len(cases))
        result = {"OK": "passed", "SKIP": "skipped"}.get(program["result"], "failed")
        if not cases or (result == "failed" and "failed" not in cases):
            cases.append(result)
        yield from cases

def pytest(path):
    for case in tree.parse(path).iter("testcase"):
        found = {child.tag for child in case}
        yield "failed" if found & {"failure", "error"} else "skipped" if "skipped" in found else "passed"

count = {"passed": 0, "failed": 0, "skipped": 0}
for path in sys.argv[1:]:
    try:
        cases = list(pytest(path) if path.endswith(".xml") else meson(path))
    except (OSError, ValueError, tree.ParseError) as error:
        cases = []
        print(error)
    if not cases:
        print("no test ran:", path)
        cases = ["failed"]
    for case in cases:
        count[case] += 1
print(", ".join(f"{n} {outcome}" for outcome, n in count.items()))
sys.exit(count["failed"] > 0)
endef
export SUM_UP
