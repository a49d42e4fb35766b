# SPDX-License-Identifier: MIT
#
# The front door: `make help` says what there is. Every target sets up what it lacks by itself, once. Meson
# builds the C (meson.build; builds/KIND.ini holds the options of build/KIND), pip with meson-python the
# package (pyproject.toml), nox its tests with other interpreters (noxfile.py); this file only calls them.

PYTHON ?= python3
PREFIX ?= /usr/local
T ?= 60
PORT ?= 8080

VENV := .venv
BUILD := build
LLAMA := $(BUILD)/llama
DONE := $(VENV)/.done
PY := $(VENV)/bin/python
# (MAKEFLAGS: make's job slots are not for Ninja, which looks for them there.)
RUN := MAKEFLAGS= PATH="$(CURDIR)/$(VENV)/bin:$$PATH"
MESON := $(RUN) $(PY) -m mesonbuild.mesonmain
TESTED := $(patsubst %,$(DONE)/%,demo test bench mistral package)

export PKG_CONFIG_PATH := $(CURDIR)/$(LLAMA)/lib/pkgconfig:$(CURDIR)/$(BUILD)/llhttp/lib/pkgconfig:$(PKG_CONFIG_PATH)

# How a target gets what it needs: the rules of all that has no ## here.
include requirements/setup.mk

.DEFAULT_GOAL := all
# Ninja is what runs in parallel; pip and apt-get must not.
.NOTPARALLEL:
.DELETE_ON_ERROR:
.PHONY: $(shell sed -n 's/^\([a-z-]*\):.*\#\# .*/\1/p' Makefile)

# $(call c_tests,KIND,ARGUMENTS): the C tests of a build, and what else `meson test` is given.
define c_tests
	@echo "-- C tests ($1)"
	@$(MESON) test -C $(BUILD)/$1 --quiet --print-errorlogs $2
endef
# $(call each,TARGETS): each of them, also after one that failed.
each = @$(MAKE) --no-print-directory --keep-going $1

# ---- to use it -----------------------------------------------------------------------------------

all: $(BUILD)/.has-all built-release $(DONE)/package ## build the library and command (build/release) and the package (.venv)
	@echo "-- done: the library is in $(BUILD)/release/src, the Python package in $(VENV)"
llama: $(BUILD)/.has-llama built-llama-release ## build library, command and package with llama.cpp, which takes some minutes once
	@$(call package,python-llama,$(with_llama) --force-reinstall)
	@touch $(DONE)/package
	@echo "-- done: the command is $(BUILD)/llama-release/tools/burble, burble.llama in $(VENV)"
install: all ## install the library, its headers and the command; PREFIX=<folder>
	@$(MESON) configure $(BUILD)/release -Dprefix="$(abspath $(PREFIX))" -Dlibdir=lib
	@$(MESON) install -C $(BUILD)/release --quiet
	@echo "-- installed in $(DESTDIR)$(abspath $(PREFIX)); where programs do not find it there, set"
	@echo "   PKG_CONFIG_PATH=$(abspath $(PREFIX))/lib/pkgconfig LD_LIBRARY_PATH=$(abspath $(PREFIX))/lib"
# (Through the environment, so that any character may be in them.)
demo: export BURBLE_MODEL := $(value MODEL)
demo: export BURBLE_PROMPT := $(value PROMPT)
demo: $(BUILD)/.has-demo $(DONE)/demo $(DONE)/package ## stream the text of a small model; MODEL=<name or folder> PROMPT="<text>"
	@$(PY) examples/demo.py

demo-serve: $(BUILD)/.has-llama built-llama-release ## serve the small model, with a page for the browser; PORT=<port>
	@$(BUILD)/llama-release/tools/burble serve -m models/shakespeare.gguf --port $(PORT)

# ---- to change it: what each change should pass ----------------------------------------------------

test: $(BUILD)/.has-test $(patsubst %,$(BUILD)/%/build.ninja,plain asan tsan) $(TESTED) ## test-c, then test-python
	$(call each,test-c test-python)
test-c: $(BUILD)/.has-test ## the C tests: plain, under ASan + UBSan, and under TSan
	$(call each,test-plain test-asan test-tsan)
test-plain test-asan test-tsan: test-%: $(BUILD)/.has-test built-%
	$(call c_tests,$*)
test-python: $(BUILD)/.has-test $(TESTED) built-plain ## the Python tests
	@echo "-- Python tests"
	@$(PY) -m pytest --quiet tests/python
test-llama: $(BUILD)/.has-llama $(patsubst %,$(BUILD)/llama-%/build.ninja,plain asan tsan lint) $(BUILD)/llama-package $(BUILD)/vocabularies $(TESTED) $(DONE)/lint ## the engine on llama.cpp, with the same sanitizers, and its part of `make lint`
	$(call each,$(addprefix test-llama-,lint plain asan tsan python))
test-llama-plain test-llama-asan test-llama-tsan: test-%: built-%
	$(call c_tests,$*,--suite llama)
test-llama-lint: $(BUILD)/llama-lint/build.ninja $(DONE)/lint
	@$(RUN) tests/lint.sh llama
test-llama-python: built-llama-plain $(BUILD)/llama-package $(BUILD)/vocabularies $(TESTED)
	@BURBLE_TEST_COMPLETE=$(BUILD)/llama-plain/tests/llama/complete PYTHONPATH=$(BUILD)/llama-package \
	    $(PY) -m pytest --quiet tests/llama
test-llama-peer: $(BUILD)/llama-package $(TESTED) $(LLAMA)/bin/llama-server ## greedy texts of 100 prompts beside those of llama-server and transformers
	@PYTHONPATH=$(BUILD)/llama-package $(PY) -m pytest --quiet tests/llama/test_peer.py
test-serve: $(BUILD)/.has-llama built-plain built-llama-plain $(TESTED) ## burble serve, with clients, browsers and proxies that are here
	@BURBLE_TEST_NUMBERS=$(BUILD)/plain/tests/serve/numbers_server BURBLE_COMMAND=$(BUILD)/llama-plain/tools/burble \
	    $(PY) -m pytest --quiet tests/serve
test-relay: $(BUILD)/.has-llama built-llama-plain $(TESTED) ## answers across machines: the scripts, and processes that are killed and stopped
	@BURBLE_TEST_FAKE_ENGINE=$(BUILD)/llama-plain/tests/relay/fake_engine BURBLE_COMMAND=$(BUILD)/llama-plain/tools/burble \
	    $(PY) -m pytest --quiet tests/relay
test-serve-peer: $(BUILD)/.has-llama built-llama-release $(TESTED) $(DONE)/llama_tests $(BUILD)/llama-tests $(LLAMA)/bin/llama-server ## llama.cpp's own tests of its server with burble serve: a table (some 30 minutes)
	@$(PY) tests/serve/peer/llama_tests.py $(BUILD)/llama-tests/tests $(BUILD)/llama-release/tools/burble $(LLAMA)/bin/llama-server \
	    $(BUILD)/llama-tests/chat.gguf

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
proxies: $(BUILD)/.has-proxies ## install nginx and Caddy, which tests of the server use where they are there

# ---- what takes longer, or finds less often --------------------------------------------------------

long: test-pythons test-python-asan test-python-debug valgrind coverage model-mutations test-llama-peer fuzz ## what takes long: other Pythons, the extension under ASan, valgrind, coverage, mutations, T=<seconds> of fuzzing for each target
msan: $(BUILD)/.has-msan built-msan ## the C tests under MSan
	$(call c_tests,msan)
valgrind: $(BUILD)/.has-valgrind built-plain ## the C tests under valgrind, in some minutes
	$(call c_tests,plain,--setup valgrind)
coverage: $(BUILD)/.has-llama built-llama-coverage $(DONE)/coverage ## what the C tests reach of src/; fails below 95 % of lines, 85 % of branches
	@find $(BUILD)/llama-coverage -name '*.gcda' -delete
	$(call c_tests,llama-coverage)
	@mkdir -p $(BUILD)/coverage
	@$(RUN) gcovr --fail-under-line 95 --fail-under-branch 85
test-pythons: $(BUILD)/.has-test $(DONE)/nox built-plain ## the package with every Python from 3.9 on that is here; PYTHONS=<interpreters>
test-oldest-python: $(BUILD)/.has-test $(DONE)/nox built-plain ## the package with the oldest Python that is here
test-python-asan: $(BUILD)/.has-test $(TESTED) $(DONE)/nox built-plain ## the Python tests with the extension under ASan + UBSan; ONLY=<marks>
test-python-debug: $(BUILD)/.has-test-python-debug $(TESTED) $(DONE)/nox ## the tests of the extension in a debug build of CPython
test-pythons test-oldest-python test-python-asan test-python-debug:
	@$(RUN) $(PY) -m nox --non-interactive --session $@ $(if $(ONLY),-- -m "$(ONLY)" tests/python)
fuzz: $(BUILD)/.has-fuzz built-fuzz ## feed anything to what reads files or ids, T=<seconds> for each target
	@tests/fuzz/fuzz.sh $(BUILD)/fuzz $(T)
torture: $(BUILD)/.has-test built-plain $(DONE)/package ## fail every allocation and system call beneath the package in turn (in C: make test)
	@$(PY) tests/torture/torture.py $(BUILD)/plain/tests/torture/fail_python.so
soak: $(BUILD)/.has-test built-plain $(TESTED) ## streams at random for T seconds, in C and Python; SEED=<what a run printed>
	@tests/soak/soak.sh $(BUILD)/plain $(PY) $(T) $(SEED)
soak-llama: $(BUILD)/.has-llama built-llama-plain ## engines and requests at random for T seconds; SEED=<what a run printed>
	@$(BUILD)/llama-plain/tests/soak/soak_llama models/shakespeare.gguf $(T) $(SEED)
litmus: $(BUILD)/.has-test built-plain built-tsan ## threads race where the fences decide, for T seconds
	@tests/soak/litmus.sh $(BUILD)/plain $(BUILD)/tsan $(T) $(SEED)
model: $(BUILD)/.has-model ## check the concurrency of streams and the protocol of the relay by model checkers (Relacy, spin)
	@$(PYTHON) tests/model/run.py $(BUILD)/model
model-mutations: $(BUILD)/.has-model ## check that the model notices each ordering that is taken away
	@$(PYTHON) tests/model/run.py $(BUILD)/model mutations

bench: $(BUILD)/.has-bench $(TESTED) built-bench ## measure, and write bench/results.json, the plots and the pages (12 minutes)
	@$(PY) bench/run.py --json bench/results.json --pages docs
bench-check: $(BUILD)/.has-bench $(TESTED) built-bench ## measure quickly, and fail where a goal is missed by more than the noise
	@$(PY) bench/run.py --quick --check
bench-llama: $(BUILD)/.has-llama built-llama-release $(LLAMA)/bin/llama-server $(DONE)/bench ## measure the engine beside llama.cpp alone and llama-server, and write its page (20 minutes)
	@$(PY) bench/run.py --only llama --only llama_parts --only llama_server --only llama_cancel \
	    --programs $(BUILD)/llama-release/bench --engine-page docs
bench-serve: $(BUILD)/.has-llama $(TESTED) $(DONE)/serve_peers built-llama-release $(BUILD)/llama-package $(LLAMA)/bin/llama-server ## measure the server beside llama-server and others, and write its page (40 minutes)
	@$(RUN) ninja --quiet -C $(BUILD)/llama-release bench/serve_load bench/serve_floor bench/serve_numbers
	@$(PY) bench/run.py --only serve --programs $(BUILD)/llama-release/bench --serve-page docs
bench-relay: $(BUILD)/.has-test $(TESTED) built-bench ## measure answers over Redis, beside the same without it and the usual ways, and write their page (6 minutes)
	@$(PY) bench/run.py --only relay --serve-page docs
compare: $(BUILD)/.has-demo $(TESTED) ## see what burble and its peers do when something goes wrong
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
