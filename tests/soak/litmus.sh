#!/bin/sh
# SPDX-License-Identifier: MIT
#
# litmus.sh PLAIN TSAN T [SEED]: litmus.c for T seconds as it is and as long under TSan, in these builds; then
# without its fences, where wake-ups must get lost.
set -eu
plain=$1 tsan=$2
shift 2
"$plain/tests/soak/litmus" "$@"
echo "-- under TSan"
# (TSan needs the addresses that a process has without randomization.)
if setarch -R true 2>/dev/null; then
    setarch -R "$tsan/tests/soak/litmus" "$@"
else
    "$tsan/tests/soak/litmus" "$@"
fi
echo "-- without the fences: lost wake-ups"
status=0
"$plain/tests/soak/litmus_no_fence" "$@" || status=$?
if [ $status -ne 3 ]; then # what litmus.c calls ALL_LOST; any other status is a failure, too
    echo "without the fences, some race lost no wake-up (exit $status): the check cannot fail" >&2
    exit 1
fi
