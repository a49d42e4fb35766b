# SPDX-License-Identifier: MIT
"""bench/ draws the right conclusions from what it measured, and each of its parts still runs."""

from __future__ import annotations

import gc
import itertools
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, SAMPLE_TEXT, SHAKESPEARE

sys.path.append(str(ROOT / "bench"))

import check
import goal
import marks
from contest import Contest
from known import Miss
from report import Measured, Outcome
from results import Results
from spread import median_interval

# ---- conclusions ---------------------------------------------------------------------------------

FEW, SOME, MANY = [2.0] * 9, [3.8, 3.9, 3.9, 4.0, 4.0, 4.1, 4.1, 4.2, 4.3], [9.0] * 9


def judged(*goals: goal.Goal, misses: dict[tuple[str, str], Miss] | None = None) -> check.Verdict:
    return check.judge([Outcome("part", "title", goals=list(goals))], misses or {})


def test_the_interval_is_where_the_median_lies_19_times_in_20() -> None:
    # By the binomial distribution: the second and the eighth of nine values, for 96 %.
    assert median_interval([9, 8, 7, 6, 5, 4, 3, 2, 1]) == (2, 8)
    assert median_interval([3, 1, 2]) == (1, 3)


def test_a_goal_missed_by_more_than_the_noise_fails() -> None:
    for missed in (
        goal.less("faster", 4.0, FEW),
        goal.flat("flat", 4.0, MANY),
        goal.adds("adds", 4.0, MANY),
    ):
        verdict = judged(missed)
        assert not verdict.passed
        assert verdict.parts == {"part"}
        assert f"FAILED: part, {missed}" in verdict.text()


def test_a_goal_missed_within_the_noise_passes() -> None:
    for near in (goal.less("faster", 4.15, SOME), goal.flat("flat", 3.95, SOME)):
        assert not near.met
        verdict = judged(near)
        assert verdict.passed
        assert verdict.text() == ""


def test_what_was_counted_once_has_no_noise() -> None:
    assert not judged(goal.flat("bytes", 1.0, [1.01])).passed
    assert judged(goal.flat("bytes", 1.0, [1.0])).passed


def test_a_known_miss_passes_and_is_reported_with_its_reason() -> None:
    verdict = judged(
        goal.less("faster", 4.0, FEW), misses={("part", "faster"): Miss("physics", 1.5)}
    )
    assert verdict.passed
    assert "known: part, goal missed: faster" in verdict.text()
    assert "physics" in verdict.text()


def test_a_known_miss_that_has_become_worse_fails() -> None:
    misses = {("part", "faster"): Miss("physics", 3.0)}
    verdict = judged(goal.less("faster", 4.0, FEW), misses=misses)
    assert verdict.missed == [
        "part, goal missed: faster: 2.00 times (95 %: 2.00 times to 2.00 times);"
        " goal: at least 3.00 times"
    ]
    assert verdict.parts == {"part"}
    assert judged(goal.less("faster", 4.0, [2.0, 3.5, 2.0]), misses=misses).passed


def test_a_known_miss_that_is_met_is_reported() -> None:
    verdict = judged(
        goal.less("faster", 4.0, MANY), misses={("part", "faster"): Miss("physics", 1.5)}
    )
    assert verdict.passed
    assert "known no more, take it out of known.py: part, goal met" in verdict.text()
    # Nothing is settled by values on both sides of the goal.
    verdict = judged(
        goal.less("faster", 4.0, SOME), misses={("part", "faster"): Miss("physics", 1.5)}
    )
    assert verdict.text() == ""


def test_a_known_miss_that_nothing_measures_fails() -> None:
    verdict = judged(
        goal.less("faster", 4.0, MANY), misses={("part", "gone"): Miss("physics", 1.5)}
    )
    assert not verdict.passed
    assert "nothing measures it: part, gone" in verdict.text()
    # A benchmark that did not run measures nothing either, and that says nothing.
    assert judged(misses={("other", "gone"): Miss("physics", 1.5)}).passed


def test_who_is_faster_is_named_the_fastest_first() -> None:
    contest = Contest("a race", SOME, {"slow": MANY, "fast": [1.0] * 9, "faster": [0.5] * 9})
    assert [behind.peer for behind in contest.behind()] == ["faster", "fast"]
    assert str(contest.behind()[1]) == "a race: fast takes 4.00 times less (3.90 to 4.20)"


def test_who_is_faster_within_the_noise_is_not_named() -> None:
    assert Contest("a race", SOME, {"peer": [*SOME[1:], 3.8]}).behind() == []


# ---- files ---------------------------------------------------------------------------------------


def test_results_are_read_as_they_were_written(tmp_path: Path) -> None:
    part = Measured({"a, b": [1.25, 3.0], "none": []}, {"names": ["é"], "n": 3})
    written = Results({"processor": "fast"}, quick=True, parts={"part": part})
    written.write(tmp_path / "results.json")
    assert Results.read(tmp_path / "results.json") == written
    assert '"a, b": [ 1.25, 3.0 ]' in (tmp_path / "results.json").read_text()


def test_only_what_stands_between_the_marks_is_replaced(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- x: begin -->\nold\n<!-- x: end -->\nb\n<!-- y: begin -->\n")
    for text in ("new", "newer"):
        marks.replace(page, "x", text)
    assert page.read_text() == (
        "a\n<!-- x: begin -->\nnewer\n<!-- x: end -->\nb\n<!-- y: begin -->\n"
    )
    with pytest.raises(SystemExit, match="expected <!-- y: begin -->"):
        marks.replace(page, "y", "new")


# ---- the benchmarks ------------------------------------------------------------------------------


def program(name: str) -> Path:
    """A program of bench/, from whichever build has it."""
    found = (ROOT / "build" / kind / "bench" / name for kind in ("bench", "plain"))
    path = next((path for path in found if path.exists()), None)
    if path is None:
        pytest.skip(f"no build has {name}: `make test` and `make bench` make it")
    return path


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The benchmarks, as small as they still say something."""
    for package in ("transformers", "tiktoken", "gguf", "janus", "culsans", "aiologic"):
        pytest.importorskip(package)
    pytest.importorskip("matplotlib")
    import families
    import native
    import parts
    import put
    import streams
    import wakeup
    import worst

    monkeypatch.setattr(families, "text", lambda: SAMPLE_TEXT * 20)
    monkeypatch.setattr(native, "PROGRAM", program("detokenize"))
    monkeypatch.setattr(put, "DEPTHS", (64, 1024))
    few = ("burble", "asyncio.Queue", streams.FLOOR)  # `handoff` has all of them
    monkeypatch.setattr(streams, "MAKERS", {name: streams.MAKERS[name] for name in few})
    monkeypatch.setattr(streams, "PEERS", ["asyncio.Queue"])
    monkeypatch.setattr(wakeup, "PROGRAM", program("wakeup"))
    monkeypatch.setattr(worst, "DEPTHS", (10, 100))
    gc.freeze()  # they collect before each measurement: not all that torch has made, each time
    yield parts
    gc.unfreeze()


# How little of each is measured.
SMALLEST: dict[str, dict[str, Any]] = {
    "put": {"n_rounds": 1},
    "handoff": {"n_rounds": 1, "ours": 100, "theirs": 100},
    "generate": {"n_rounds": 1, "tokens": 4},
    "streams": {"n_rounds": 1, "steps": 1},
    "detokenize": {"n_rounds": 1, "in_c": 1000, "from_python": 100},
    "vocabulary": {"n_rounds": 1},
    "worst": {"n_rounds": 1},
    "wakeup": {"n_rounds": 1},
}
FOUND: dict[str, Measured] = {}


def measured(bench: Any, name: str) -> Measured:
    """What this benchmark measures; it runs once."""
    if name not in FOUND:
        import models

        which = [models.load_tokenizer(SHAKESPEARE)] if name in ("put", "handoff") else []
        FOUND[name] = getattr(bench, name).measure(*which, **SMALLEST[name])
    return FOUND[name]


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALLEST)
def test_a_benchmark_runs_and_says_something(bench: Any, name: str) -> None:
    import known

    outcome = bench.outcomes({name: measured(bench, name)})[name]
    assert outcome.name == name
    assert outcome.title in outcome.text()
    assert outcome.goals
    # Each known miss is of a goal that exists.
    assert check.judge([outcome], known.MISSES).stale == []


@pytest.mark.slow
def test_every_figure_of_the_pages_comes_from_the_results(bench: Any, tmp_path: Path) -> None:
    import page
    import plots

    assert bench.names() == tuple(SMALLEST)
    written = Results(
        {"processor": "a processor of the test"},
        parts={name: measured(bench, name) for name in SMALLEST},
    )
    written.write(tmp_path / "results.json")
    results = Results.read(tmp_path / "results.json")

    copy = tmp_path / page.PAGE.name
    copy.write_text(page.PAGE.read_text(encoding="utf-8"), encoding="utf-8")
    page.update(results, copy, tmp_path)
    text = copy.read_text(encoding="utf-8")
    assert "a processor of the test" in text
    for name, outcome in bench.outcomes(results.parts).items():
        assert outcome.tables[0].markdown() in text, name
    for name in plots.PLOTS:
        svg = (tmp_path / f"{name}.svg").read_text(encoding="utf-8")
        assert "</svg>" in svg
        assert len(svg) < 60_000
        assert f"plots/{name}.svg" in text


def test_figures_of_the_readme_agree_with_the_results() -> None:
    """They are typed by hand, so that README.md does not change with each run."""
    parts = Results.read(ROOT / "bench" / "results.json").parts
    samples = {name: part.samples for name, part in parts.items()}
    median = {
        "0.5 µs": 1e6 * statistics.median(samples["put"]["burble, TextStreamer, 1024"]),
        "145 µs": 1e6 * statistics.median(samples["put"]["TextStreamer, 1024"]),
        "0.1 µs": 1e6 * statistics.median(samples["handoff"]["burble, asyncio, wall"]),
        "7.4 µs": 1e6 * statistics.median(samples["handoff"]["transformers, asyncio, wall"]),
        "2.0 µs": 1e6 * statistics.median(samples["streams"]["burble, 1,000 streams, cpu"]),
        "9.1 µs": 1e6 * statistics.median(samples["streams"]["asyncio.Queue, 1,000 streams, cpu"]),
    }
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for shown, measured in median.items():
        assert shown in text
        assert float(shown.split()[0]) == pytest.approx(measured, rel=0.15), shown


@pytest.mark.slow
def test_labels_of_lines_keep_their_distance_and_order(bench: Any) -> None:
    import plots

    heights = [5.0, 1.0, 1.1, 1.2, 4.9, 9.0]
    moved = plots._apart(heights, 0.5)
    assert sorted(range(6), key=moved.__getitem__) == sorted(range(6), key=heights.__getitem__)
    assert all(b - a >= 0.499 for a, b in itertools.pairwise(sorted(moved)))
    assert moved[5] == 9.0
