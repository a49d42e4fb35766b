# SPDX-License-Identifier: MIT
#
# The front door: `make help` says what there is. Every target sets up what it lacks by itself, once. Meson
# builds the C (meson.build; builds/KIND.ini holds the options of build/KIND), pip with meson-python the
# package (pyproject.toml), nox its tests with other interpreters (noxfile.py); this file only calls them.

PYTHON ?= python3
PREFIX ?= /usr/local
WHEELS ?= .cache/wheels
T ?= 60
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
NOX := $(RUN) $(PY) -m nox --non-interactive
LLAMA := $(BUILD)/llama
TESTED := $(DONE)/demo $(DONE)/test $(DONE)/package
MEASURED := $(BUILD)/bench/build.ninja $(TESTED) $(DONE)/bench

export PIP_ROOT_USER_ACTION := ignore
export PKG_CONFIG_PATH := $(CURDIR)/$(LLAMA)/lib/pkgconfig:$(PKG_CONFIG_PATH)
export WHEELS

TARGETS := $(shell sed -n 's/^\([a-z-]*\):.*\#\# .*/\1/p' Makefile)
.DEFAULT_GOAL := all
# Ninja is what runs in parallel; pip and apt-get must not.
.NOTPARALLEL:
.DELETE_ON_ERROR:
.PHONY: $(TARGETS) $(addprefix test-,plain asan tsan) $(addprefix test-llama-,lint plain asan tsan python) command

# $(call c_tests,KIND,ARGUMENTS): the C tests of a build, and what else `meson test` is given.
define c_tests
	@echo "-- C tests ($1)"
	@$(NINJA) -C $(BUILD)/$1
	@$(MESON) test -C $(BUILD)/$1 --quiet --print-errorlogs $2
endef
# $(call each,TARGETS): each of them, also after one that failed.
each = @$(MAKE) --no-print-directory --keep-going $1

# ---- to use it -----------------------------------------------------------------------------------

all: $(BUILD)/.has-all $(BUILD)/release/build.ninja $(DONE)/package ## build the library and command (build/release) and the package (.venv)
	@echo "-- building the library ($(BUILD)/release)"
	@$(NINJA) -C $(BUILD)/release
	@echo "-- done: the library is in $(BUILD)/release/src, the Python package in $(VENV)"

llama: $(BUILD)/.has-llama $(BUILD)/llama-release/build.ninja $(DONE)/build ## build library, command and package with llama.cpp, which takes some minutes once
	@echo "-- building the library and the package with llama.cpp"
	@$(NINJA) -C $(BUILD)/llama-release
	@$(PIP) install --no-build-isolation --no-deps --force-reinstall \
	    --config-settings=build-dir=$(BUILD)/python-llama --config-settings=setup-args=-Dllama=enabled .
	@touch $(DONE)/package
	@echo "-- done: the command is $(BUILD)/llama-release/tools/burble, burble.llama in $(VENV)"

install: all ## install the library, its headers and the command; PREFIX=<folder>
	@$(MESON) configure $(BUILD)/release -Dprefix="$(abspath $(PREFIX))" -Dlibdir=lib
	@$(MESON) install -C $(BUILD)/release --quiet
	@echo "-- installed in $(abspath $(PREFIX)); where programs do not find it there, set"
	@echo "   PKG_CONFIG_PATH=$(abspath $(PREFIX))/lib/pkgconfig LD_LIBRARY_PATH=$(abspath $(PREFIX))/lib"

# MODEL and PROMPT reach the program through the environment, so that any character may be in them.
demo: export BURBLE_MODEL := $(value MODEL)
demo: export BURBLE_PROMPT := $(value PROMPT)
demo: $(BUILD)/.has-demo $(DONE)/demo $(DONE)/package ## stream the text of a small model; MODEL=<name or folder> PROMPT="<text>"
	@set --; \
	if [ -n "$$BURBLE_MODEL" ]; then set -- "$$@" --model="$$BURBLE_MODEL"; fi; \
	if [ -n "$$BURBLE_PROMPT" ]; then set -- "$$@" --prompt="$$BURBLE_PROMPT"; fi; \
	exec $(PY) $(DEMO) "$$@"

# ---- to change it: what each change should pass ----------------------------------------------------

test: $(BUILD)/.has-test $(patsubst %,$(BUILD)/%/build.ninja,plain asan tsan) $(TESTED) $(DONE)/bench $(DONE)/mistral ## test-c, then test-python
	$(call each,test-c test-python)
test-c: $(BUILD)/.has-test ## the C tests: plain, under ASan + UBSan, and under TSan
	$(call each,test-plain test-asan test-tsan)
test-plain test-asan test-tsan: test-%: $(BUILD)/.has-test $(BUILD)/%/build.ninja
	$(call c_tests,$*)
test-python: $(BUILD)/.has-test $(TESTED) $(DONE)/bench $(DONE)/mistral command ## the Python tests
	@echo "-- Python tests"
	@$(PY) -m pytest --quiet tests/python
# The command that the Python tests run.
command: $(BUILD)/plain/build.ninja
	@$(NINJA) -C $(BUILD)/plain

test-llama: $(BUILD)/.has-llama $(patsubst %,$(BUILD)/llama-%/build.ninja,plain asan tsan lint) $(BUILD)/llama-package $(BUILD)/vocabularies $(TESTED) $(DONE)/lint ## the engine on llama.cpp, with the same sanitizers, and its part of `make lint`
	$(call each,$(addprefix test-llama-,lint plain asan tsan python))
test-llama-plain test-llama-asan test-llama-tsan: test-%: $(BUILD)/%/build.ninja
	$(call c_tests,$*,--suite llama)
test-llama-lint: $(BUILD)/llama-lint/build.ninja $(DONE)/lint
	@echo "-- cc -Werror, clang-tidy (llama.cpp)"
	@$(NINJA) -k 0 -C $(BUILD)/llama-lint
	@$(RUN) tests/lint.sh clang-tidy $(BUILD)/llama-lint src/engine/llama_*.c bench/llama_*.c
test-llama-python: $(BUILD)/llama-plain/build.ninja $(BUILD)/llama-package $(BUILD)/vocabularies $(TESTED)
	@$(NINJA) -C $(BUILD)/llama-plain
	@BURBLE_TEST_COMPLETE=$(BUILD)/llama-plain/tests/llama/complete PYTHONPATH=$(BUILD)/llama-package \
	    $(PY) -m pytest --quiet tests/llama

lint: $(BUILD)/.has-lint $(DONE)/lint $(DONE)/test $(BUILD)/lint/build.ninja ## check style, types and warnings
	@$(RUN) tests/lint.sh all
format: $(BUILD)/.has-demo $(DONE)/lint ## format the sources
	@$(RUN) tests/lint.sh format

docs: $(BUILD)/.has-docs reference $(DONE)/test $(DONE)/docs $(DONE)/package ## the pages as a site (build/site); a dead link is an error
	@rm -rf $(BUILD)/site
	@$(PY) -m sphinx --quiet --fail-on-warning --keep-going --doctree-dir $(BUILD)/.doctrees docs $(BUILD)/site
	@echo "-- $(BUILD)/site/index.html"
reference: $(BUILD)/.has-docs ## the reference of the C API (build/reference)
	@rm -rf $(BUILD)/reference
	@doxygen docs/reference/Doxyfile
	@echo "-- $(BUILD)/reference/html/index.html"
chromium: $(BUILD)/.has-chromium ## install the browser that some of the Python tests use where it is there

# ---- what takes longer, or finds less often --------------------------------------------------------

long: test-pythons test-python-debug valgrind coverage model-mutations fuzz ## what takes long: other Pythons, valgrind, coverage, mutations, T=<seconds> of fuzzing for each target
msan: $(BUILD)/.has-msan $(BUILD)/msan/build.ninja ## the C tests under MSan
	$(call c_tests,msan)
valgrind: $(BUILD)/.has-valgrind $(BUILD)/plain/build.ninja ## the C tests under valgrind, in some minutes
	$(call c_tests,plain,--setup valgrind)
coverage: $(BUILD)/.has-llama $(BUILD)/llama-coverage/build.ninja $(DONE)/coverage ## what the C tests reach of src/; fails below 95 % of lines, 85 % of branches
	@find $(BUILD)/llama-coverage -name '*.gcda' -delete
	$(call c_tests,llama-coverage)
	@mkdir -p $(BUILD)/coverage
	@$(RUN) gcovr --fail-under-line 95 --fail-under-branch 85
test-pythons: $(BUILD)/.has-test $(DONE)/nox command ## the package with every Python from 3.9 on that is here; PYTHONS=<interpreters>
	@$(NOX) --session pythons
test-oldest-python: $(BUILD)/.has-test $(DONE)/nox command ## the package with the oldest Python that is here
	@$(NOX) --session oldest
test-python-asan: $(BUILD)/.has-test $(TESTED) $(DONE)/mistral $(DONE)/nox command ## the Python tests with the extension under ASan + UBSan
	@$(NOX) --session asan
test-python-debug: $(BUILD)/.has-test-python-debug $(TESTED) $(DONE)/nox ## the tests of the extension in a debug build of CPython
	@$(NOX) --session debug
fuzz: $(BUILD)/.has-fuzz $(BUILD)/fuzz/build.ninja ## feed anything to what reads files or ids, T=<seconds> for each target
	@$(NINJA) -C $(BUILD)/fuzz
	@tests/fuzz/fuzz.sh $(BUILD)/fuzz $(T)
torture: $(BUILD)/.has-test $(BUILD)/plain/build.ninja $(DONE)/package ## fail every allocation and system call beneath the package in turn (in C: make test)
	@$(NINJA) -C $(BUILD)/plain tests/torture/fail_python.so
	@$(PY) tests/torture/torture.py $(BUILD)/plain/tests/torture/fail_python.so
soak: $(BUILD)/.has-test $(BUILD)/plain/build.ninja $(TESTED) ## streams at random for T seconds, in C and Python; SEED=<what a run printed>
	@$(NINJA) -C $(BUILD)/plain tests/soak/soak
	@tests/soak/soak.sh $(BUILD)/plain $(PY) $(T) $(SEED)
litmus: $(BUILD)/.has-test $(BUILD)/plain/build.ninja $(BUILD)/tsan/build.ninja ## threads race where the fences decide, for T seconds
	@$(NINJA) -C $(BUILD)/plain tests/soak/litmus tests/soak/litmus_no_fence
	@$(NINJA) -C $(BUILD)/tsan tests/soak/litmus
	@tests/soak/litmus.sh $(BUILD)/plain $(BUILD)/tsan $(T) $(SEED)
model: $(BUILD)/.has-model ## check the concurrency of streams by model checkers (Relacy, spin)
	@$(PYTHON) tests/model/run.py $(BUILD)/model
model-mutations: $(BUILD)/.has-model ## check that the model notices each ordering that is taken away
	@$(PYTHON) tests/model/run.py $(BUILD)/model mutations

bench: $(BUILD)/.has-bench $(MEASURED) ## measure, and write bench/results.json, the plots and the pages (12 minutes)
	@$(NINJA) -C $(BUILD)/bench
	@$(PY) $(BENCH) --json bench/results.json --pages docs
bench-check: $(BUILD)/.has-bench $(MEASURED) ## measure quickly, and fail where a goal is missed by more than the noise
	@$(NINJA) -C $(BUILD)/bench
	@$(PY) $(BENCH) --quick --check
bench-llama: $(BUILD)/.has-llama $(BUILD)/llama-release/build.ninja $(DONE)/bench ## measure the engine beside llama.cpp alone
	@$(NINJA) -C $(BUILD)/llama-release
	@$(PY) $(BENCH) --only llama --programs $(BUILD)/llama-release/bench
compare: $(BUILD)/.has-demo $(TESTED) $(DONE)/bench ## see what burble and its peers do when something goes wrong
	@$(PY) tests/compare/run.py

dist: $(BUILD)/.has-dist $(DONE)/build $(DONE)/test $(DONE)/lint $(DONE)/dist ## the source distribution and a wheel of the last commit, checked (dist/)
	@$(RUN) tests/dist/make.sh $(PY) $(BUILD)
clean: ## remove what was built
	@rm -rf $(BUILD) dist $(DONE)/package
	@find . -path ./$(VENV) -prune -o -name __pycache__ -prune -exec rm -rf {} +
distclean: clean ## remove what was built, .venv/ and .cache/
	@rm -rf $(VENV) .cache .mypy_cache .pytest_cache .ruff_cache .hypothesis .nox
help: ## this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-18s %s\n", $$1, $$2 }' Makefile
	@echo
	@echo 'Each installs what it lacks. PYTHON=<interpreter> (now: $(PYTHON)) chooses the Python that $(VENV)/ is'
	@echo 'made with; CC and CFLAGS the compiler of new build folders. T=<seconds> (now: $(T)).'

# ---- what they need --------------------------------------------------------------------------------

# Of the system (requirements/system.sh says what for each): one message, before anything is downloaded.
$(BUILD)/.has-%: requirements/system.sh
	@mkdir -p $(BUILD)
	@PYTHON='$(PYTHON)' requirements/system.sh $*
	@touch $@

# Of Python: $(VENV), and in it what the files of requirements/ name.
$(DONE)/venv:
	@if ! $(PY) -m pip --version >/dev/null 2>&1; then \
	    echo "-- making $(VENV)/ ($$($(PYTHON) --version))"; \
	    $(PYTHON) -m venv --clear $(VENV); \
	fi
	@mkdir -p $(DONE)
	@touch $@
$(patsubst %,$(DONE)/%,build demo test bench coverage lint docs dist nox): $(DONE)/%: requirements/%.txt $(DONE)/venv
	@echo "-- installing Python packages ($<)"
	@$(PIP) install -r $<
	@touch $@
# After the others, which bring most of what it needs.
$(DONE)/mistral: requirements/mistral.txt $(DONE)/demo $(DONE)/test
	@echo "-- installing Python packages ($<)"
	@$(PIP) install --no-deps -r $<
	@touch $@

# Folders are listed, too: a file that was removed counts as a change.
SOURCES := $(shell find include src python tools pyproject.toml meson.build meson.options LICENSE README.md \
    -name __pycache__ -prune -o -print 2>/dev/null)
$(DONE)/package: $(SOURCES) $(DONE)/build
	@echo "-- building and installing the Python package"
	@$(PIP) install --no-build-isolation --no-deps --force-reinstall --config-settings=build-dir=$(BUILD)/python .
	@touch $@
# The package with llama.cpp, in a folder of its own: tests put it onto the path, also without $(VENV)'s packages.
$(BUILD)/llama-package: $(SOURCES) $(DONE)/build $(LLAMA)/lib/pkgconfig/llama.pc
	@echo "-- building the Python package with llama.cpp ($@)"
	@rm -rf $@
	@$(PIP) install --no-build-isolation --no-deps --target=$@ \
	    --config-settings=build-dir=$(BUILD)/python-llama --config-settings=setup-args=-Dllama=enabled .
	@touch $@

# Of other projects: llama.cpp, the vocabularies of its tests, and libraries instrumented for MSan.
$(LLAMA)/lib/pkgconfig/llama.pc: requirements/llama.sh requirements/llama.txt requirements/llama.cmake $(DONE)/venv
	@$(RUN) requirements/llama.sh library $(LLAMA)
$(BUILD)/vocabularies: requirements/llama.sh requirements/llama.txt $(DONE)/venv
	@$(RUN) requirements/llama.sh vocabularies $@
# (cmocka is the last that is installed there.)
$(BUILD)/msan-libraries/lib/pkgconfig/cmocka.pc: tests/sanitizers/msan_libraries.sh
	@MAKEFLAGS= tests/sanitizers/msan_libraries.sh $(BUILD)/msan-libraries

# The C builds, one folder for each kind.
define configure
	@echo "-- configuring $(@D)"
	@rm -rf $(@D)
	@$(MESON) setup $(addprefix --native-file=,$(filter %.ini,$^)) $(@D) >$(BUILD)/meson.log 2>&1 || \
	    { cat $(BUILD)/meson.log >&2; rm -rf $(@D); exit 1; }
endef
$(patsubst %,$(BUILD)/%/build.ninja,release bench plain asan tsan msan lint fuzz): $(BUILD)/%/build.ninja: builds/%.ini $(DONE)/build
	$(configure)
$(patsubst %,$(BUILD)/llama-%/build.ninja,release plain asan tsan lint coverage): $(BUILD)/llama-%/build.ninja: \
    builds/%.ini builds/llama.ini $(DONE)/build $(LLAMA)/lib/pkgconfig/llama.pc
	$(configure)
$(BUILD)/msan/build.ninja: tests/sanitizers/msan.ignore $(BUILD)/msan-libraries/lib/pkgconfig/cmocka.pc
