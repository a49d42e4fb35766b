# SPDX-License-Identifier: MIT
#
# What the targets of the Makefile need, each set up once: packages of the system ($(BUILD)/.has-TARGET), Python
# packages ($(DONE)/FILE, for requirements/FILE.txt), burble's own package, llama.cpp, and the C builds: each
# KIND in build/KIND, configured ($(BUILD)/KIND/build.ninja) and up to date (built-KIND).

WHEELS ?= .cache/wheels
export WHEELS
export PIP_ROOT_USER_ACTION := ignore
PIP := $(RUN) $(PY) -m pip --disable-pip-version-check --no-input -qq

# $(call package,KIND,ARGUMENTS): the Python package, built in build/KIND, and what else `pip install` is given.
# (An old folder may hold options that there are no longer.)
package = { [ meson.options -ot $(BUILD)/$1/build.ninja ] && [ pyproject.toml -ot $(BUILD)/$1/build.ninja ] \
    || rm -rf $(BUILD)/$1; } && $(PIP) install --no-build-isolation --no-deps --config-settings=build-dir=$(BUILD)/$1 $2 .
with_llama := --config-settings=setup-args=-Dllama=enabled

# Of the system (requirements/system.sh says what for each): one message, before anything is downloaded.
$(BUILD)/.has-%: requirements/system.sh
	@mkdir -p $(BUILD)
	@PYTHON='$(PYTHON)' requirements/system.sh $*
	@touch $@

# Of Python: $(VENV), and in it what the files of requirements/ name.
$(DONE)/venv:
	@$(PY) -m pip --version >/dev/null 2>&1 || { echo "-- making $(VENV)/"; $(PYTHON) -m venv --clear $(VENV); }
	@mkdir -p $(DONE)
	@touch $@
$(patsubst %,$(DONE)/%,build demo test bench coverage lint docs dist nox mistral serve_peers llama_tests): $(DONE)/%: requirements/%.txt $(DONE)/venv
	@echo "-- installing Python packages ($<)$(if $(filter demo,$*),: PyTorch is large and may take minutes)"
	@$(PIP) install $(if $(filter mistral,$*),--no-deps) -r $<
	@touch $@
# After the others, which bring most of what it needs.
$(DONE)/mistral: $(DONE)/demo $(DONE)/test

# Folders are listed, too: a file that was removed counts as a change.
SOURCES := $(shell find include src python tools pyproject.toml meson.build meson.options LICENSE README.md \
    -name __pycache__ -prune -o -print 2>/dev/null)
$(DONE)/package: $(SOURCES) $(DONE)/build $(BUILD)/llhttp
	@echo "-- building and installing the Python package"
	@$(call package,python,--force-reinstall)
	@touch $@
# The package with llama.cpp, in a folder of its own: tests put it onto the path, also without $(VENV)'s packages.
$(BUILD)/llama-package: $(SOURCES) $(DONE)/build $(BUILD)/llhttp $(LLAMA)/lib/pkgconfig/llama.pc
	@echo "-- building the Python package with llama.cpp ($@)"
	@rm -rf $@
	@$(call package,python-llama,$(with_llama) --target=$@)
	@touch $@

# Of other projects: llama.cpp, llhttp, the vocabularies of its tests, and libraries instrumented for MSan.
$(LLAMA)/lib/pkgconfig/llama.pc: requirements/llama.sh requirements/llama.txt requirements/llama.cmake $(DONE)/venv
	@$(RUN) requirements/llama.sh library $(LLAMA)
$(LLAMA)/bin/llama-server: requirements/llama_server.sh requirements/llama_server.cmake $(LLAMA)/lib/pkgconfig/llama.pc
	@$(RUN) requirements/llama_server.sh $(LLAMA)
# (The model is made by gguf, which the benchmarks bring.)
$(BUILD)/llama-tests: requirements/llama_tests.sh requirements/llama.txt $(DONE)/bench
	@$(RUN) requirements/llama_tests.sh $@
	@touch $@
$(BUILD)/llhttp: requirements/llhttp.sh requirements/llhttp.txt $(DONE)/venv
	@$(RUN) requirements/llhttp.sh $@
$(BUILD)/vocabularies: requirements/llama.sh requirements/llama.txt $(DONE)/venv
	@$(RUN) requirements/llama.sh vocabularies $@
# (cmocka is the last that is installed there.)
$(BUILD)/msan-libraries/lib/pkgconfig/cmocka.pc: tests/sanitizers/msan_libraries.sh
	@MAKEFLAGS= tests/sanitizers/msan_libraries.sh $(BUILD)/msan-libraries

# The C builds, one folder for each kind: built-KIND.
built-%: $(BUILD)/%/build.ninja
	@echo "-- building $(BUILD)/$*"
	@$(RUN) ninja --quiet -C $(BUILD)/$*
define configure
	@echo "-- configuring $(@D)"
	@rm -rf $(@D)
	@$(MESON) setup $(addprefix --native-file=,$(filter %.ini,$^)) $(@D) >$(BUILD)/meson.log 2>&1 || \
	    { cat $(BUILD)/meson.log >&2; rm -rf $(@D); exit 1; }
endef
$(patsubst %,$(BUILD)/%/build.ninja,release bench plain asan tsan msan lint fuzz): $(BUILD)/%/build.ninja: builds/%.ini $(DONE)/build $(BUILD)/llhttp
	$(configure)
$(patsubst %,$(BUILD)/llama-%/build.ninja,release plain asan tsan lint coverage): $(BUILD)/llama-%/build.ninja: \
    builds/%.ini builds/llama.ini $(DONE)/build $(BUILD)/llhttp $(LLAMA)/lib/pkgconfig/llama.pc
	$(configure)
$(BUILD)/msan/build.ninja: tests/sanitizers/msan.ignore $(BUILD)/msan-libraries/lib/pkgconfig/cmocka.pc
