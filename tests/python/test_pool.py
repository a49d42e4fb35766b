# SPDX-License-Identifier: MIT
"""burble.Pool: the threads in which generations run."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import subprocess
import sys
import textwrap
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import CancelledError, Executor, Future, wait
from typing import Any

import pytest
from helpers import SOON, until

import burble

pytestmark = pytest.mark.timeout(60)


class Gate:
    """A job that says when it has begun, and ends when it is let."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.open = threading.Event()

    def __call__(self) -> str:
        self.begun.set()
        assert self.open.wait(SOON)
        return threading.current_thread().name


@pytest.fixture
def pool() -> Iterator[burble.Pool]:
    with burble.Pool(workers=1) as pool:
        yield pool


@contextlib.contextmanager
def busy(pool: burble.Pool) -> Iterator[Future[str]]:
    """All of the pool's threads have something to do."""
    gates = [Gate() for _ in range(pool.workers)]
    futures = [pool.submit(gate) for gate in gates]
    for gate in gates:
        assert gate.begun.wait(SOON)
    yield futures[0]
    for gate in gates:
        gate.open.set()


# ---- turns ---------------------------------------------------------------------------------------


def test_jobs_run_in_order_of_submission(pool: burble.Pool) -> None:
    order: list[int] = []
    with busy(pool):
        futures = [pool.submit(order.append, n) for n in range(100)]
        assert order == []
    wait(futures, SOON)
    assert order == list(range(100))


def test_jobs_at_once_are_at_most_the_workers() -> None:
    with burble.Pool(workers=3) as pool:
        with busy(pool):
            more = pool.submit(lambda: threading.active_count())
            assert (pool.running, pool.waiting) == (3, 1)
            assert len(pool._threads) == 3
            assert not more.done()
        assert more.result(SOON)


def test_threads_begin_on_demand() -> None:
    with burble.Pool(workers=50) as pool:
        assert not pool._threads
        for _ in range(20):
            pool.submit(int).result(SOON)
            until(lambda: len(pool._free) == 1)
        assert len(pool._threads) == 1  # each found the first one idle
        with busy(pool):
            assert len(pool._threads) == 50
            assert all(thread.is_alive() for thread in pool._threads)


def test_idle_threads_end_after_timeout() -> None:
    with burble.Pool(workers=4, idle_timeout=0.01) as pool:
        with busy(pool):
            threads = list(pool._threads)
            assert len(threads) == 4
        until(lambda: not any(thread.is_alive() for thread in threads))
        assert not pool._threads
        assert pool.submit(str, 5).result(SOON) == "5"  # and begin again


def test_threads_of_unreferenced_pool_end() -> None:
    pool = burble.Pool(workers=3, idle_timeout=1e6)
    with busy(pool):
        threads, free = pool._threads, pool._free
        assert len(threads) == 3
    until(lambda: len(free) == 3)
    seen = weakref.ref(pool)
    del pool
    assert seen() is None
    for thread in threads:
        thread.join(SOON)
    assert not any(thread.is_alive() for thread in threads)


def test_jobs_of_unreferenced_pool_still_run() -> None:
    pool = burble.Pool(workers=1, idle_timeout=1e6)
    with busy(pool):
        (thread,) = pool._threads
        futures = [pool.submit(int, n) for n in range(10)]
        del pool
    assert [future.result(SOON) for future in futures] == list(range(10))
    thread.join(SOON)
    assert not thread.is_alive()


def test_job_cancelled_in_queue_notifies_waiters(
    pool: burble.Pool,
) -> None:
    with busy(pool):
        future = pool.submit(int)
        assert future.cancel()
    assert wait([future], SOON).done == {future}


def test_job_submitted_as_last_thread_ends_runs() -> None:
    with burble.Pool(workers=1, idle_timeout=0.0) as pool:
        for n in range(2000):
            assert pool.submit(int, n).result(SOON) == n


def test_job_cancelled_in_queue_never_runs(pool: burble.Pool) -> None:
    ran: list[str] = []
    with busy(pool):
        first, second = pool.submit(ran.append, "first"), pool.submit(ran.append, "second")
        assert first.cancel()
        assert pool.waiting == 1
    second.result(SOON)
    assert ran == ["second"]
    with pytest.raises(CancelledError):
        first.result(SOON)


def test_job_cancelled_in_queue_is_freed(pool: burble.Pool) -> None:
    class Input:
        pass

    inputs: weakref.WeakSet[Input] = weakref.WeakSet()
    with busy(pool):
        first = pool.submit(int)  # in front of the others, and wanted
        for _ in range(1000):
            given = Input()
            inputs.add(given)
            pool.submit(lambda given=given: given).cancel()
            del given
        assert len(inputs) < 30
    assert first.result(SOON) == 0


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_thread_ended_by_system_exit_is_replaced(pool: burble.Pool) -> None:
    thread = pool.submit(threading.current_thread).result(SOON)
    told = ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(thread.ident or 0), ctypes.py_object(SystemExit)
    )
    assert told == 1
    pool.submit(int)  # which it hears of, and then that
    thread.join(SOON)
    assert not thread.is_alive()
    assert pool.submit(threading.current_thread).result(SOON) is not thread


def test_idle_timeout_none_keeps_threads() -> None:
    with burble.Pool(workers=1, idle_timeout=1e300) as pool:
        threads = {pool.submit(threading.current_thread).result(SOON) for _ in range(3)}
    assert len(threads) == 1


@pytest.mark.no_asan
def test_ten_thousand_jobs_from_many_threads_run_once_each() -> None:
    ran: list[int] = []
    futures: list[Future[None]] = []

    def submit(begin: int) -> None:
        futures.extend([pool.submit(ran.append, n) for n in range(begin, begin + 1250)])

    with burble.Pool(workers=8) as pool:
        threads = [threading.Thread(target=submit, args=(n * 1250,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(SOON)
        wait(futures, SOON)
        assert len(pool._threads) <= 8
    assert sorted(ran) == list(range(10_000))


def test_job_that_raises_costs_no_thread(pool: burble.Pool) -> None:
    for exception in (ValueError, KeyboardInterrupt, SystemExit):
        with pytest.raises(exception):
            pool.submit(lambda exception=exception: (_ for _ in ()).throw(exception())).result(SOON)
    assert pool.submit(str).result(SOON) == ""
    assert len(pool._threads) == 1


def test_finished_job_is_freed(pool: burble.Pool) -> None:
    class Memory:
        pass

    memory = Memory()
    seen = weakref.ref(memory)
    pool.submit(lambda kept: None, memory).result(SOON)
    del memory
    until(lambda: seen() is None)


def test_finalizer_in_pool_thread_may_use_pool(pool: burble.Pool) -> None:
    """The collector may run anywhere."""
    futures: list[Future[str]] = []

    class Tied:
        def __init__(self) -> None:
            self.me = self

        def __del__(self) -> None:
            futures.append(pool.submit(str))

    with busy(pool):
        Tied()
        gc.collect()
        assert len(futures) == 1
    assert futures[0].result(SOON) == ""


# ---- as an executor ------------------------------------------------------------------------------


def test_pool_is_an_executor() -> None:
    pool = burble.Pool(workers=4)
    assert isinstance(pool, Executor)
    assert list(pool.map(pow, range(10), [2] * 10)) == [n * n for n in range(10)]
    pool.shutdown()
    assert pool._threads == set()
    with pytest.raises(RuntimeError, match="the pool is closed"):
        pool.submit(int)


def test_shutdown_runs_queued_jobs_unless_cancel_futures() -> None:
    for cancels in (False, True):
        pool = burble.Pool(workers=1)
        with busy(pool) as running:
            waiting = pool.submit(int)
            pool.shutdown(wait=False, cancel_futures=cancels)
            assert waiting.cancelled() is cancels
        assert running.result(SOON)
        if not cancels:
            assert waiting.result(SOON) == 0
        pool.shutdown()


def test_close_cancels_queued_jobs_and_warns_of_running_ones() -> None:
    pool = burble.Pool(workers=1)
    with busy(pool):
        waiting = pool.submit(int)
        with pytest.warns(RuntimeWarning, match=r"1 of the pool's threads did not end within 0.01"):
            pool.close(0.01)
        assert waiting.cancelled()
    pool.close()
    pool.close()
    assert repr(pool) == "<burble.Pool of 1: closed>"


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"workers": 0}, ValueError, "workers: expected at least 1, found 0"),
        ({"workers": "2"}, TypeError, "workers: expected an int, found '2'"),
        ({"workers": True}, TypeError, "workers: expected an int, found True"),
        ({"idle_timeout": -1}, ValueError, "idle_timeout: expected seconds, 0 or more, found -1"),
    ],
)
def test_invalid_pool_options_are_refused(
    options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        burble.Pool(**options)


# ---- the end of the process, and a second one ----------------------------------------------------


def leave(program: str, timeout: float = 40.0) -> tuple[int, str, str]:
    """Run a separate program: how it ended, and what it said."""
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import os, threading, time\nimport burble\n" + textwrap.dedent(program),
        ],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def test_interpreter_with_job_that_never_returns_exits() -> None:
    program = """
    pool = burble.Pool()
    begun = threading.Event()

    def never():
        begun.set()
        while True:
            time.sleep(60)

    pool.submit(never)
    begun.wait()
    burble._pool._EXIT_TIMEOUT = 0.1
    print("leaving", flush=True)
    """
    assert leave(program) == (0, "leaving\n", "")


def test_interpreter_at_exit_cancels_running_jobs_and_waits() -> None:
    program = """
    pool = burble.Pool()
    begun, stop = threading.Event(), threading.Event()

    def until_told():
        begun.set()
        stop.wait()
        print("told", flush=True)

    pool.call(until_told, stop.set)
    begun.wait()
    """
    assert leave(program) == (0, "told\n", "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_forked_child_has_pool_without_threads() -> None:
    program = """
    import warnings
    warnings.simplefilter("ignore")  # of forking with threads, which is the point

    pool = burble.Pool(workers=2)
    gate, begun = threading.Event(), threading.Semaphore(0)

    def wait():
        begun.release()
        gate.wait()

    jobs = [pool.submit(wait) for _ in range(3)]  # two run, one waits
    begun.acquire()
    begun.acquire()
    child = os.fork()
    if child == 0:
        assert (pool.running, pool.waiting) == (0, 0)
        assert list(pool.map(str, range(3))) == ["0", "1", "2"]
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    gate.set()
    for job in jobs:
        job.result()
    print("both")
    """
    assert leave(program) == (0, "both\n", "")
