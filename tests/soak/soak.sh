#!/bin/sh
# SPDX-License-Identifier: MIT
#
# soak.sh BUILD PYTHON T [SEED]: soak.c and soak.py at the same time, for T seconds.
set -u
build=$1 python=$2
shift 2
log=$(mktemp)
"$build/tests/soak/soak" "$@" >"$log" 2>&1 &
failed=0
echo "-- Python"
"$python" "$(dirname "$0")/soak.py" "$@" || failed=1
wait $! || failed=1
echo "-- C"
cat "$log"
rm "$log"
exit $failed
