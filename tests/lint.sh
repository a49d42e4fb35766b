#!/bin/bash
# SPDX-License-Identifier: MIT
#
# lint.sh all: every check of style, types and warnings, also after one that failed.
# lint.sh llama: those of what includes the headers of llama.cpp, in a build that has it.
# lint.sh format: formats the sources.
set -u
shopt -s globstar nullglob
c_files=({include,src,python/ext,tests,bench,examples,tools}/**/*.[ch])
failed=0

check() { # check NAME COMMAND...
    echo "-- $1"
    shift
    "$@" || failed=1
}

# Each file by itself, with all that #if may choose. (An empty loop's `continue` says that it is meant.)
static_analysis() {
    cppcheck --quiet --error-exitcode=1 --std=c11 --enable=warning,style,performance,portability \
        --inline-suppr --suppress=redundantContinue --library=posix,gnu,python -Iinclude -Isrc -Ipython/ext \
        src python/ext tools bench examples
}

# Two at a time; what it says of each file's progress is shown only where one fails.
clang_tidy() { # clang_tidy BUILD FILE...
    local build=$1 log=$1/clang-tidy.log
    shift
    printf '%s\n' "$@" | xargs -P 2 -n 1 clang-tidy --quiet -p "$build" 2>"$log" ||
        { grep -v 'Processing file' "$log" >&2; return 1; }
}

# What needs the headers of llama.cpp is left to `lint.sh llama`.
without_llama() {
    printf '%s\n' "$@" | grep -Ev '^src/engine/llama_|^bench/llama_'
}

case $1 in
llama)
    check "cc -Werror (build/llama-lint)" ninja --quiet -k 0 -C build/llama-lint
    check "clang-tidy (llama.cpp)" clang_tidy build/llama-lint src/engine/*.c bench/llama_*.c
    exit $failed
    ;;
format)
    echo "-- clang-format, ruff"
    clang-format -i "${c_files[@]}"
    python -m ruff check --quiet --fix-only . && python -m ruff format --quiet .
    exit
    ;;
esac

check "ruff check" python -m ruff check --quiet .
check "ruff format" python -m ruff format --quiet --diff .
check "mypy --strict" python -m mypy --no-error-summary python/burble examples/*.py
check "clang-format" clang-format --dry-run --Werror "${c_files[@]}"
check "cppcheck" static_analysis
check "cc -Werror (build/lint)" ninja --quiet -k 0 -C build/lint
mapfile -t files < <(without_llama {src,python/ext,tools,bench}/**/*.c)
check "clang-tidy" clang_tidy build/lint "${files[@]}"
exit $failed
