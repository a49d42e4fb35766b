# SPDX-License-Identifier: MIT
"""bench/run.py, by its command: what it concludes from values, what it writes, and that it runs.

Nothing of bench is imported here, and bench imports nothing of the tests.
"""

from __future__ import annotations

import itertools
import json
import re
import shutil
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT

RESULTS = ROOT / "bench" / "results.json"
DOCS = ROOT / "docs"
PARTS = ("put", "handoff", "generate", "streams", "detokenize", "vocabulary", "worst", "wakeup")

# Most of these import torch, in a process of their own: slow on a busy machine.
pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.skipif(sys.version_info < (3, 10), reason="bench/run.py needs Python 3.10"),
]


def run(*args: object, status: int = 0) -> str:
    """Run the command; return what it prints."""
    command = [sys.executable, str(ROOT / "bench" / "run.py"), *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=580)
    assert done.returncode == status, done.stderr
    return done.stdout


def require(*packages: str) -> None:
    for package in packages:
        pytest.importorskip(package)


# ---- conclusions ---------------------------------------------------------------------------------

# What `wakeup` measures, where every goal is met.
WAKEUP = {
    "wake_hub": [10.0] * 9,
    "wake_bare": [10.0] * 9,
    "signals_busy": [1.0] * 9,
    "record_burble": [30.0] * 9,
    "memory_used": [600.0],
}


def check(tmp_path: Path, name: str, samples: dict[str, Any], status: int = 0) -> str:
    """Check the goals of a benchmark whose values are these."""
    path = tmp_path / "results.json"
    part = {"samples": samples, "facts": {}}
    document = {"machine": {}, "quick": False, "parts": {name: part}}
    path.write_text(json.dumps(document), encoding="utf-8")
    return run("--read", path, "--only", name, "--check", status=status)


def test_goal_met_passes(tmp_path: Path) -> None:
    text = check(tmp_path, "wakeup", WAKEUP)
    assert "4 of 4 goals met" in text
    assert "no goal is missed" in text


@pytest.mark.parametrize(
    ("values", "interval"),
    [
        # By the binomial distribution: the second and the eighth of nine values, for 96 %.
        ([9, 8, 7, 6, 5, 4, 3, 2, 1], "5 ns (95 %: 2 ns to 8 ns)"),
        ([3, 1, 2], "2 ns (range: 1 ns to 3 ns)"),
    ],
)
def test_interval_of_median_is_computed(tmp_path: Path, values: list[int], interval: str) -> None:
    text = check(tmp_path, "wakeup", {**WAKEUP, "record_burble": values})
    assert f"goal met:    a record of five bytes: {interval}; goal: at most 100 ns" in text


def test_goal_missed_beyond_noise_fails(tmp_path: Path) -> None:
    text = check(tmp_path, "wakeup", {**WAKEUP, "record_burble": [200.0] * 9}, status=1)
    assert "FAILED: wakeup, goal missed: a record of five bytes: 200 ns" in text
    text = check(tmp_path, "wakeup", {**WAKEUP, "wake_hub": [14.0] * 9}, status=1)
    assert "FAILED: wakeup, goal missed: a wake-up, hub over eventfd: 1.40 times" in text


def test_goal_missed_within_noise_passes(tmp_path: Path) -> None:
    values = [80.0, 90.0, 95.0, 99.0, 101.0, 102.0, 103.0, 104.0, 105.0]
    text = check(tmp_path, "wakeup", {**WAKEUP, "record_burble": values})
    assert "goal missed: a record of five bytes: 101 ns" in text
    assert "not settled by this run" in text
    assert "FAILED" not in text


def test_single_count_has_no_noise(tmp_path: Path) -> None:
    text = check(tmp_path, "wakeup", {**WAKEUP, "memory_used": [1025.0]}, status=1)
    assert "FAILED: wakeup, goal missed: an idle stream with its reader: 1,025 bytes;" in text


def test_peer_faster_beyond_noise_is_named(tmp_path: Path) -> None:
    text = check(tmp_path, "wakeup", {**WAKEUP, "record_ring": [15.0] * 9})
    line = "not the fastest: a record of five bytes: Concurrency Kit's ring takes 2.00 times less"
    assert line in text
    text = check(tmp_path, "wakeup", {**WAKEUP, "record_ring": [*[15.0] * 7, 35.0, 35.0]})
    assert line not in text


@pytest.mark.parametrize(
    ("signals", "status", "expected"),
    [
        (11.0, 0, "known: streams, goal missed: signals a step at 10,000 streams: 11 times"),
        (25.0, 1, "FAILED: streams, goal missed: signals a step at 10,000 streams: 25 times"),
        (1.0, 0, "known no more, remove its known miss: streams, goal met:"),
    ],
)
def test_known_miss_passes_up_to_its_bound(
    tmp_path: Path, signals: float, status: int, expected: str
) -> None:
    require("janus", "culsans", "aiologic")
    samples = json.loads(RESULTS.read_text(encoding="utf-8"))["parts"]["streams"]["samples"]
    samples["burble, 10,000 streams, signals"] = [signals] * 7
    text = check(tmp_path, "streams", samples, status)
    assert expected in text
    if status == 0 and signals > 1:
        assert "a drain resumes at most 1,024 tasks" in text


# ---- pages ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the page and the plots of bench/results.json."""
    require("transformers", "janus", "culsans", "aiologic", "matplotlib")
    folder = tmp_path_factory.mktemp("pages")
    shutil.copy(DOCS / "performance.md", folder)
    run("--read", RESULTS, "--pages", folder)
    return folder


@pytest.mark.slow
def test_page_equals_results(pages: Path) -> None:
    written = (pages / "performance.md").read_text(encoding="utf-8")
    assert written == (DOCS / "performance.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_page_has_every_plot(pages: Path) -> None:
    text = (DOCS / "performance.md").read_text(encoding="utf-8")
    drawn = {path.name: path.read_text(encoding="utf-8") for path in (pages / "plots").iterdir()}
    assert drawn.keys() == {path.name for path in (DOCS / "plots").glob("*.svg")}
    for name, svg in drawn.items():
        assert f"plots/{name}" in text
        assert "</svg>" in svg
        assert len(svg) < 60_000


@pytest.mark.slow
@pytest.mark.parametrize("plot", ["put", "streams"])
def test_names_of_lines_do_not_overlap(pages: Path, plot: str) -> None:
    svg = (pages / "plots" / f"{plot}.svg").read_text(encoding="utf-8")
    labels = re.findall(r'<text [^>]*? x="([\d.]+)" y="([\d.]+)"', svg)
    right = max(float(x) for x, _ in labels)
    heights = sorted(float(y) for x, y in labels if float(x) > right - 1)
    assert len(heights) > 4
    assert all(below - above > 9 for above, below in itertools.pairwise(heights))


def test_figures_of_readme_equal_results() -> None:
    """They are typed by hand, so that README.md does not change with each run."""
    parts = json.loads(RESULTS.read_text(encoding="utf-8"))["parts"]
    samples = {name: part["samples"] for name, part in parts.items()}
    median = {
        "0.5 µs": 1e6 * statistics.median(samples["put"]["burble, TextStreamer, 1024"]),
        "145 µs": 1e6 * statistics.median(samples["put"]["TextStreamer, 1024"]),
        "0.1 µs": 1e6 * statistics.median(samples["handoff"]["burble, asyncio, wall"]),
        "7.4 µs": 1e6 * statistics.median(samples["handoff"]["transformers, asyncio, wall"]),
        "1.7 µs": 1e6 * statistics.median(samples["streams"]["burble, 1,000 streams, cpu"]),
        "0.9 µs": 1e6 * statistics.median(samples["streams"]["burble.gather, 1,000 streams, cpu"]),
        "13 µs": 1e6 * statistics.median(samples["streams"]["asyncio.Queue, 1,000 streams, cpu"]),
    }
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for shown, measured in median.items():
        assert shown in text
        assert float(shown.split()[0]) == pytest.approx(measured, rel=0.15), shown


# ---- the benchmarks ------------------------------------------------------------------------------


def programs() -> Path:
    """The programs in C, of any build."""
    for kind in ("bench", "plain"):
        folder = ROOT / "build" / kind / "bench"
        if all((folder / name).exists() for name in ("detokenize", "wakeup")):
            return folder
    pytest.skip("no build has detokenize and wakeup: `make test` and `make bench` make them")


@pytest.mark.slow
def test_benchmark_of_every_kind_runs_and_is_on_page(tmp_path: Path) -> None:
    require("transformers", "tiktoken", "gguf", "janus", "culsans", "aiologic", "matplotlib")
    path = tmp_path / "results.json"
    shutil.copy(DOCS / "performance.md", tmp_path)
    smoke = ("--smoke", "--programs", programs())
    text = run(*smoke, "--json", path, "--pages", tmp_path)
    for name in PARTS:
        assert re.search(rf"^{name}: .*(\n .*)*\n  goal (met|missed):", text, re.MULTILINE), name
    page = (tmp_path / "performance.md").read_text(encoding="utf-8")
    machine = json.loads(path.read_text(encoding="utf-8"))["machine"]
    assert f"| when | {machine['when']} |" in page
    assert "these figures are rough" in page
    again = run("--read", path, "--only", "wakeup")
    assert again[again.index("wakeup: ") : again.index("goals met") - 9].strip() in text


def test_page_of_some_benchmarks_is_refused(tmp_path: Path) -> None:
    run("--only", "put", "--pages", tmp_path, status=2)


def test_bench_imports_nothing_of_tests() -> None:
    for path in (ROOT / "bench").glob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert "sys.path" not in text, path
        assert not re.search(r"(import|from) (conftest|helpers|shipped|samples|test_)", text), path
