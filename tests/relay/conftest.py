# SPDX-License-Identifier: MIT
"""What the tests of the relay share."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from protocol import PREFIX, Clock, Front, Scripts
from redises import RedisServer, redis_server


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder whose name leaves room for sockets, whose paths have 107 bytes at most."""
    with tempfile.TemporaryDirectory(prefix="burble") as name:
        yield Path(name)


@pytest.fixture(scope="module")
def shared_server() -> Iterator[RedisServer]:
    """One Redis for the tests of a file that do not stop it."""
    with tempfile.TemporaryDirectory(prefix="burble") as name:
        with redis_server(Path(name)) as server:
            yield server


@pytest.fixture
def scripts(shared_server: RedisServer) -> Iterator[Scripts]:
    """The scripts, on an empty Redis, with no more rights than the manual gives them."""
    client = shared_server.client()
    client.flushall()
    yield Scripts(client, shared_server.add_user(), Clock())
    # No key without the prefix: an ACL can name all of them.
    keys = list(client.scan_iter("*"))
    assert all(key.startswith(PREFIX.encode()) for key in keys), keys


@pytest.fixture
def front(scripts: Scripts) -> Front:
    """A front that listens."""
    return Front(scripts)
