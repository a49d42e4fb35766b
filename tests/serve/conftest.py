# SPDX-License-Identifier: MIT
"""What the tests of the server share."""

from __future__ import annotations

import signal

# A shell without job control ignores Ctrl-C for what it starts in the background, and nohup SIGHUP:
# servers would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
