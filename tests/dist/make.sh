#!/bin/sh
# SPDX-License-Identifier: MIT
#
# make.sh PYTHON BUILD: what is uploaded, in dist/: made of the last commit, as pip and meson-python do it, and checked.
set -eu
python=$1 build=$2/dist
rm -rf dist "$build"
git diff --quiet HEAD || echo "-- what is not committed is left out"
echo "-- building the distributions"
mkdir -p "$build"
# (A wheel needs no library that is not in it: it has no server.)
{ "$python" -m build --config-setting=setup-args=-Dserve=disabled --outdir "$build" . && "$python" -m auditwheel repair --wheel-dir dist "$build"/*.whl; } \
    >"$build.log" 2>&1 || { cat "$build.log" >&2; exit 1; }
mv "$build"/*.tar.gz dist
"$python" -m pytest --quiet tests/dist
ls dist
