#!/bin/sh
# SPDX-License-Identifier: MIT
#
# llama_server.sh FOLDER: llama-server, in FOLDER/bin, on the libraries that `llama.sh library FOLDER` has
# installed there, and from the same sources. It is kept in $WHEELS, too, so that it is built once.
set -eu
folder=$1
here=$(cd "$(dirname "$0")" && pwd)
kept=${WHEELS:-.cache/wheels}/server-$(cd "$here" && cat llama_server.* llama.sh llama.txt llama.cmake | cksum | cut -d ' ' -f 1)
pip() {
    python -m pip --disable-pip-version-check --no-input -qq "$@"
}

build() {
    echo "-- building llama-server (some minutes; $folder-server.log)"
    sources=$(mktemp -d)
    pip download --no-deps --no-binary=llama-cpp-python --dest="$sources" -r "$here/llama.txt"
    tar -xzf "$sources"/llama_cpp_python-*.tar.gz -C "$sources" --strip-components=3 --wildcards '*/vendor/llama.cpp'
    cp "$here/llama_server.cmake" "$sources/CMakeLists.txt"
    if ! command -v cmake >/dev/null; then
        pip install --target="$sources/cmake" cmake
        PATH=$sources/cmake/bin:$PATH PYTHONPATH=$sources/cmake
        export PATH PYTHONPATH
    fi
    {
        cmake -S "$sources" -B "$sources/build" -DLLAMA_PREFIX="$(cd "$folder" && pwd)"
        nice -n 5 cmake --build "$sources/build" --parallel 2 --target llama-server
    } >"$folder-server.log" 2>&1 || { cat "$folder-server.log" >&2; exit 1; }
    mkdir -p "$kept"
    mv "$sources/build/llama-server" "$kept"
    rm -r "$sources"
}

[ -x "$kept/llama-server" ] || build
mkdir -p "$folder/bin"
cp "$kept/llama-server" "$folder/bin"
