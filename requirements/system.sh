#!/bin/sh
# SPDX-License-Identifier: MIT
#
# system.sh TARGET: what the system has to bring for a target of the Makefile, before anything is downloaded.
#
# What lacks is installed where that is possible: on Debian and its like, by root or with sudo. Otherwise, one
# message lists all of it, with the names of the packages, and the exit status is 1. PYTHON is the interpreter
# (python3).
set -u

PYTHON=${PYTHON:-python3}
missing='' debian='' fedora='' version=3

lack() { # lack WHAT DEBIAN-PACKAGES FEDORA-PACKAGES, noted once
    case "$missing
" in *"    $1
"*) return ;; esac
    missing="$missing
    $1"
    debian="$debian $2"
    case "$fedora " in *" $3 "*) ;; *) fedora="$fedora $3" ;; esac
}

compiles() { # compiles COMMAND... <source: whether that compiles
    "$@" - >/dev/null 2>&1
}

has_package() { # has_package NAME DEBIAN-PACKAGE FEDORA-PACKAGE: whether pkg-config knows it
    pkg-config --exists "$1" 2>/dev/null || lack "$1" "$2" "$3"
}

need_cc() {
    printf '%s\n' '#include <pthread.h>' '#include <stdatomic.h>' 'int main(void) { return 0; }' |
        compiles ${CC:-cc} -std=c11 -x c -fsyntax-only || lack 'a C11 compiler' 'gcc libc6-dev' 'gcc'
}
need_cxx() {
    printf '%s\n' '#include <vector>' 'int main() { return std::vector<int>{0}[0]; }' |
        compiles ${CXX:-c++} -std=c++17 -x c++ -fsyntax-only || lack 'a C++17 compiler' g++ gcc-c++
}
need_python() {
    command -v "$PYTHON" >/dev/null 2>&1 || {
        lack "Python 3.9 or above, as $PYTHON" 'python3 python3-dev python3-venv' python3-devel
        return
    }
    version=$("$PYTHON" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 9))' || {
        echo "burble needs Python 3.9 or above; $PYTHON is $version. Choose another: make PYTHON=python3.12" >&2
        exit 1
    }
    "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null ||
        lack "the modules venv and ensurepip of $PYTHON" "python$version-venv" python3-devel
    "$PYTHON" -c 'import os, sys, sysconfig
sys.exit(not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))' ||
        lack "the C headers of $PYTHON (Python.h)" "python$version-dev" python3-devel
}
need_python311() { # transformers and others of the pinned packages
    need_python
    command -v "$PYTHON" >/dev/null 2>&1 || return
    "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
        echo "This target needs Python 3.11 or above, for the packages that it uses; $PYTHON is $version." \
            "Choose another: remove .venv, then call make with PYTHON=<interpreter>." >&2
        exit 1
    }
}
need_pkgconfig() {
    command -v pkg-config >/dev/null || lack pkg-config pkg-config pkgconf-pkg-config
}
need_jansson() {
    need_pkgconfig
    has_package 'jansson >= 2.14' libjansson-dev jansson-devel
}
need_cmocka() {
    need_pkgconfig
    has_package cmocka libcmocka-dev libcmocka-devel
}
need_uv() {
    need_pkgconfig
    has_package libuv libuv1-dev libuv-devel
}
need_hiredis() { # and a Redis for the tests
    need_pkgconfig
    has_package hiredis libhiredis-dev hiredis-devel
    command -v redis-server >/dev/null || lack Redis redis-server redis
}
need_loops() {
    need_uv
    has_package libevent libevent-dev libevent-devel
    has_package glib-2.0 libglib2.0-dev glib2-devel
}
need_ck() {
    need_pkgconfig
    has_package ck libck-dev ck-devel
}
need_chromium() {
    command -v chromium >/dev/null || command -v chromium-browser >/dev/null || lack Chromium chromium chromium
}
need_proxies() {
    PATH=$PATH:/usr/sbin
    command -v nginx >/dev/null || lack nginx nginx-light nginx
    command -v caddy >/dev/null || lack Caddy caddy caddy
}
need_git() {
    command -v git >/dev/null || lack git git git
}
need_cppcheck() {
    command -v cppcheck >/dev/null || lack cppcheck cppcheck cppcheck
}
need_doxygen() {
    command -v doxygen >/dev/null || lack Doxygen doxygen doxygen
}
need_valgrind() {
    command -v valgrind >/dev/null || lack valgrind valgrind valgrind
}
need_debug_python() {
    command -v "python${version}d" >/dev/null ||
        lack "a debug build of Python $version" "python$version-dbg" python3-debug
}
has_clang() { # has_clang SANITIZER SOURCE: a clang that builds it with the sanitizer
    sanitizer=$1
    printf '%s\n' '#include <stddef.h>' 'int LLVMFuzzerTestOneInput(const char *data, size_t size);' \
        'int LLVMFuzzerTestOneInput(const char *data, size_t size) { return data == NULL && size; }' "$2" |
        compiles env clang "-fsanitize=$sanitizer" -x c -o /dev/null ||
        lack "clang with -fsanitize=$sanitizer" 'clang libclang-rt-dev llvm' 'clang compiler-rt llvm'
}
need_fuzzer() {
    has_clang fuzzer,address,undefined ''
}
need_msan() {
    has_clang memory 'int main(void) { return 0; }'
    command -v cmake >/dev/null || lack cmake cmake cmake
}
need_model() {
    command -v spin >/dev/null || lack spin spin '(spin: from its sources)'
    echo '#include <relacy/relacy.hpp>' | compiles g++ -std=gnu++17 -w -x c++ -fsyntax-only ||
        lack 'g++ and Relacy' 'g++ relacy-dev' 'gcc-c++ (relacy: from its sources)'
    command -v gcc >/dev/null || lack gcc 'gcc libc6-dev' gcc
}

c_tests='cc python jansson cmocka uv hiredis'
tests='cc python311 jansson cmocka uv hiredis'
case $1 in
all) needs='cc python jansson' ;;
bench) needs="$tests ck" ;;
chromium) needs='chromium' ;;
proxies) needs='proxies' ;;
test-python-debug) needs="$tests debug_python" ;;
demo) needs='cc python311' ;;
dist) needs='cc python311 jansson cmocka git' ;;
docs) needs='cc python311 doxygen' ;;
fuzz) needs="$c_tests fuzzer" ;;
lint) needs="$tests cppcheck" ;;
llama) needs="$tests cxx loops" ;;
model) needs='python model' ;;
msan) needs="$c_tests msan" ;;
test) needs=$tests ;;
valgrind) needs="$c_tests valgrind" ;;
*)
    echo "system.sh: '$1' is none of the targets that it knows" >&2
    exit 2
    ;;
esac

probe() {
    missing='' debian='' fedora=''
    for need in $needs; do "need_$need"; done
    [ -z "$missing" ]
}

probe && exit
sudo=''
[ "$(id -u)" -eq 0 ] || sudo=$(command -v sudo)
if command -v apt-get >/dev/null && { [ "$(id -u)" -eq 0 ] || [ -n "$sudo" ]; }; then
    echo "-- installing Debian packages:$debian"
    log=$(mktemp)
    # shellcheck disable=SC2086 # names of packages, apart
    { $sudo apt-get -qq update &&
        $sudo env DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o DPkg::Lock::Timeout=300 \
            install --no-install-recommends $debian; } >"$log" 2>&1 || cat "$log" >&2
    rm -f "$log"
    probe && exit
fi
cat >&2 <<END
\`make $1\` needs, and this machine does not have:
$missing

Please have it installed, then call make again. As root:

    apt-get install$debian     (Debian, Ubuntu)
    dnf install$fedora     (Fedora)
END
exit 1
