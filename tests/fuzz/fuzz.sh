#!/bin/sh
# SPDX-License-Identifier: MIT
#
# fuzz.sh BUILD T: each fuzz target for T seconds, two of them at a time, from its corpus on. New inputs stay in
# BUILD/found/TARGET; a finding is a file crash-... there, to be run with BUILD/tests/fuzz/fuzz_TARGET.
set -u
build=$1 seconds=$2
if [ $# -eq 2 ]; then
    ls "$(dirname "$0")/corpus" | xargs -P 2 -I TARGET "$0" "$build" "$seconds" TARGET
    exit
fi
target=$3
found=$build/found/$target
mkdir -p "$found"
failed=0
"$build/tests/fuzz/fuzz_$target" "-max_total_time=$seconds" -rss_limit_mb=2048 -timeout=10 \
    "-artifact_prefix=$found/" -print_final_stats=1 "$found" "$(dirname "$0")/corpus/$target" >"$found.log" 2>&1 ||
    { failed=1; tail -n 40 "$found.log"; }
echo "-- $target: $(sed -n 's/^stat::number_of_executed_units: *//p' "$found.log") inputs"
exit $failed
