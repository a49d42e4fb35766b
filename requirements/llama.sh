#!/bin/sh
# SPDX-License-Identifier: MIT
#
# llama.sh library FOLDER: llama.cpp, built from the sources in a Python package.
# llama.sh vocabularies FOLDER: the vocabularies of llama.cpp's own tests, from the same sources.
#
# The wheel that the sources become is kept in $WHEELS, which several checkouts may share. It is for any x86-64
# processor with AVX2 and FMA (or any AArch64 one), and has threads of its own rather than OpenMP's.
set -eu
folder=$2
here=$(cd "$(dirname "$0")" && pwd)
# One folder for each way to build it.
WHEELS=${WHEELS:-.cache/wheels}/$(cat "$0" "$here/llama.txt" "$here/llama.cmake" | cksum | cut -d ' ' -f 1)
pip() {
    python -m pip --disable-pip-version-check --no-input -qq "$@"
}

# (pip's cache would give out a wheel that was made with other options.)
build_wheel() {
    echo "-- building llama.cpp (some minutes; $folder.log)"
    CMAKE_ARGS="-DCMAKE_PROJECT_llama_cpp_INCLUDE=$here/llama.cmake -DLLAVA_BUILD=OFF -DGGML_NATIVE=OFF \
-DGGML_OPENMP=OFF -DGGML_CCACHE=OFF" CMAKE_BUILD_PARALLEL_LEVEL=2 \
        nice -n 5 python -m pip --disable-pip-version-check --no-input wheel --no-deps --no-cache-dir \
        --no-binary=llama-cpp-python --wheel-dir="$folder.wheel" -r "$here/llama.txt" >"$folder.log" 2>&1 ||
        { cat "$folder.log" >&2; exit 1; }
    mkdir -p "$WHEELS"
    mv "$folder.wheel"/llama_cpp_python-*.whl "$WHEELS"
}
install_wheel() {
    pip install --no-deps --no-index --find-links="$WHEELS" --target="$folder" -r "$here/llama.txt"
}

rm -rf "$folder"
case $1 in
library)
    install_wheel 2>/dev/null || { build_wheel && install_wheel; }
    # The package's own llama.pc names the folder that it was built in.
    pc=$folder/lib/pkgconfig/llama.pc
    sed -i "s|$(sed -n 's/^prefix=//p' "$pc")|$(cd "$folder" && pwd)|" "$pc"
    ;;
vocabularies)
    # (To download sources, pip looks into them, for which it installs what they are built with.)
    echo "-- getting llama.cpp's test vocabularies ($folder)"
    sources=$(mktemp -d)
    pip download --no-deps --no-binary=llama-cpp-python --dest="$sources" -r "$here/llama.txt"
    mkdir "$sources/vocabularies"
    tar -xzf "$sources"/llama_cpp_python-*.tar.gz -C "$sources/vocabularies" --strip-components=4 --wildcards \
        '*/models/ggml-vocab-*.gguf'
    mv "$sources/vocabularies" "$folder"
    rm -r "$sources"
    ;;
esac
