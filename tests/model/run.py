# SPDX-License-Identifier: MIT
"""Checks the concurrency of the stream: `make model`. docs/testing.md says what this proves.

    run.py BUILD                   all scenarios and models
    run.py BUILD scenario NAME...  only these scenarios, and what happened where one fails
    run.py BUILD mutations         all mutations: does a check notice each of them?
    run.py BUILD mutation NAME...  only these

BUILD is where things are built (build/model).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import mutations

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
JOBS = min(os.cpu_count() or 1, 2)

# What the scenarios are run with: how often each is interleaved at random; and how many times
# threads may be interrupted where all interleavings are gone through: twice in these, once in the
# others, but for those that have too many. The second finds what takes one thread long and another
# one a step, the first what takes many turns.
RANDOM = 20000
TOO_MANY = ["two_hubs", "leave_others", "block_two", "limit_two", "limit_first", "drop_and_block"]
TWICE = [
    *["park", "park_end", "park_twice", "park_in_call", "one_hub", "leave_parked", "hub_goes"],
    *["move", "hold_release", "hold_dispatch", "block", "block_until", "interrupt_blocked"],
    *["interrupt_parked", "weak", "limit", "limit_cancel", "limit_leave", "limit_unread"],
    *["limit_lift", "limit_raise", "drop_leave", "position"],
]
MUTANT_RANDOM = 10000
# How deep spin's verifier goes.
DEPTH = 1000000

SOURCES = ["block", "hub", "lag", "pace", "parker", "reader", "stream", "waiter"]
# What the sources call is renamed to what checker.cpp has.
RENAMED = {
    "": ["malloc", "calloc", "realloc", "free", "aligned_alloc", "memcpy", "memset"],
    "pthread_": [
        *["mutex_init", "mutex_destroy", "mutex_lock", "mutex_trylock", "mutex_unlock"],
        *["cond_init", "cond_destroy", "cond_signal", "cond_wait", "cond_timedwait"],
    ],
    "__": ["assert_fail"],
}
INCLUDE = [f"-I{ROOT / 'include'}", f"-I{HERE}"]
# GCC: clang calls for atomics by other names.
C = ["gcc", "-std=c11", "-O1", "-g", "-fsanitize=thread", "-Wno-tsan", "-fno-pie", "-c", *INCLUDE]
C += ["-DBURBLE__NO_FORK"]  # see base/fork.h: the model has one process
C += [f"-D{prefix}{name}=model_{name}" for prefix, names in RENAMED.items() for name in names]
CXX = ["g++", "-std=gnu++17", "-O1", "-g", "-w", "-fno-pie", "-c", *INCLUDE]


class Outcome(NamedTuple):
    """What a check has come to. That it could not be carried out (it has no room, no end, it
    crashed) is ``broken``: neither passed nor, of a mutation, a catch."""

    how: str  # "passed", "failed" or "broken"
    text: str


def command(*args: object, timeout: float = 600) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(a) for a in args],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
    )


def build(*args: object) -> None:
    done = command(*args)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, args))}\n{done.stdout}")


def compile_source(name: str, source: Path, out: Path) -> None:
    """`source`/stream/NAME.c, with the headers in `source`."""
    build(*C, f"-I{source}", source / "stream" / f"{name}.c", "-o", out / f"{name}.o")


def build_checker(out: Path) -> Path:
    out.mkdir(parents=True, exist_ok=True)
    checker = out / "checker.o"
    newest = max(
        f.stat().st_mtime
        for f in (HERE / "checker.cpp", HERE / "model.h", ROOT / "src" / "stream" / "wake.h")
    )
    with ThreadPoolExecutor(JOBS) as pool:
        jobs = [pool.submit(compile_source, name, ROOT / "src", out) for name in SOURCES]
        jobs.append(
            pool.submit(
                build,
                *C,
                f"-I{ROOT / 'src'}",
                HERE / "scenarios.c",
                "-o",
                out / "scenarios.o",
            )
        )
        if not checker.exists() or checker.stat().st_mtime < newest:
            build(
                *CXX,
                f"-I{ROOT / 'src'}",
                HERE / "checker.cpp",
                "-o",
                checker,
            )
        for job in jobs:
            job.result()
    return link(out / "checker", [out / f"{name}.o" for name in (*SOURCES, "scenarios", "checker")])


def link(program: Path, objects: list[Path]) -> Path:
    build("g++", "-no-pie", *objects, "-o", program)
    return program


def where(program: Path, output: str) -> str:
    """A history with the lines of the source for Relacy's `in pc, src(ADDRESS)`."""
    found = sorted(set(re.findall(r"in pc, src\((\d+)\)", output)))
    if not found:
        return output
    lines = command(
        "addr2line", "-s", "-f", "-e", program, *(hex(int(a) - 1) for a in found)
    ).stdout
    names = lines.splitlines()
    place = {a: f"{names[2 * i]}, {names[2 * i + 1]}" for i, a in enumerate(found)}
    return re.sub(r"in pc, src\((\d+)\)", lambda m: "in " + place[m.group(1)], output)


def verdict(output: str) -> str:
    """What Relacy says first of all; the history comes after it."""
    lines = [line for line in output.splitlines() if line.strip()]
    return lines[1].strip() if len(lines) > 1 else " ".join(lines)


# ---- scenarios -----------------------------------------------------------------------------------


def run_scenario(program: Path, name: str, how: list[str]) -> Outcome:
    try:
        done = command(program, name, *how)
    except subprocess.TimeoutExpired:
        return Outcome("broken", "it does not end")
    if done.returncode not in (0, 1):
        return Outcome("broken", f"exit {done.returncode}: {verdict(done.stdout)}")
    return Outcome("failed" if done.returncode else "passed", done.stdout)


def ways(name: str, random: int) -> list[list[str]]:
    """How a scenario is run."""
    found = [["random", str(random)]]
    if name not in TOO_MANY:
        found.append(["bound", "2" if name in TWICE else "1"])
    return found


def check_scenarios(program: Path, names: list[str]) -> bool:
    tasks = [(name, how) for name in names for how in ways(name, RANDOM)]
    total = 0
    passed = True
    with ThreadPoolExecutor(JOBS) as pool:
        results = pool.map(lambda task: run_scenario(program, *task), tasks)
        for (name, how), (outcome, output) in zip(tasks, results):
            if outcome == "passed":
                total += int(output.split()[1])
            else:
                passed = False
                print(f"{outcome.upper()} {name} {' '.join(how)}\n{where(program, output)}")
    print(f"   {len(names)} scenarios, {total:,} interleavings")
    return passed


def scenarios_of(program: Path) -> list[str]:
    return command(program, "list").stdout.split()


# ---- Promela -------------------------------------------------------------------------------------


def check_model(out: Path, model: str, define: str = "", cycles: bool = False) -> Outcome:
    """Generates, compiles and runs spin's verifier in a separate folder. It looks for assertions
    and invalid end states, or for cycles (`define`: macros, with spaces between them)."""
    name = "-".join([model, *define.split(), *(["cycles"] if cycles else [])])
    folder = out / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    macros = " ".join(f"-D{macro}" for macro in define.split())
    search = "-DNP" if cycles else "-DSAFETY"
    build(
        "sh",
        "-c",
        f"cd '{folder}' && spin {macros} -a '{HERE / model}.pml' && "
        f"gcc -O2 -w {search} -DCOLLAPSE -DMEMLIM=3500 -o pan pan.c",
    )
    try:
        done = command(
            "sh", "-c", f"cd '{folder}' && ./pan {'-l' if cycles else ''} -m{DEPTH} -w24"
        )
    except subprocess.TimeoutExpired:
        return Outcome("broken", "it does not end")
    return outcome_of_pan(done.stdout)


def outcome_of_pan(text: str) -> Outcome:
    """An error that it has found counts, however much it has looked at; none, only where it has
    looked at all. A memory or depth that was too small, and a crash, are the check's own."""
    states = re.search(r"(\d+) states, stored", text)
    errors = re.search(r"errors: (\d+)", text)
    if not errors or not states:
        return Outcome("broken", text)
    why = re.search(r"pan:\d+: (.*?) \(at depth", text)
    if errors.group(1) != "0":
        return Outcome("failed", why.group(1)) if why else Outcome("broken", text)
    if "Search not completed" in text or "max search depth too small" in text:
        return Outcome("broken", text)
    return Outcome("passed", f"{int(states.group(1)):,} states")


# ---- mutations -----------------------------------------------------------------------------------


def mutate(out: Path, mutation: mutations.Mutation, names: list[str]) -> tuple[bool, str]:
    """Whether it is caught, and by what."""
    folder = out / "mutants" / re.sub(r"\W+", "-", mutation.name)
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(ROOT / "src", folder / "src")
    path = folder / "src" / "stream" / mutation.file
    text = path.read_text()
    for old, new in ((mutation.old, mutation.new), *mutation.more):
        if text.count(old) != 1:
            return False, f"its text stands in {mutation.file} {text.count(old)} times:\n{old}"
        text = text.replace(old, new)
    path.write_text(text)
    changed = [mutation.file[:-2]] if mutation.file.endswith(".c") else SOURCES
    for name in changed:
        compile_source(name, folder / "src", folder)
    objects = [
        (folder if name in changed else out) / f"{name}.o"
        for name in (*SOURCES, "scenarios", "checker")
    ]
    program = link(folder / "checker", objects)
    first = mutation.first.split()
    for name in [*first, *(n for n in names if n not in first)]:
        for how in ways(name, MUTANT_RANDOM):
            outcome, output = run_scenario(program, name, how)
            if outcome == "broken":
                return False, f"{name}: {output}"
            if outcome == "failed":
                shutil.rmtree(folder)
                return True, f"{name}: {verdict(output)}"
    return False, "nothing"


def check_mutations(out: Path, chosen: list[mutations.Mutation], names: list[str]) -> bool:
    passed = True
    with ThreadPoolExecutor(JOBS) as pool:
        results = pool.map(lambda mutation: mutate(out, mutation, names), chosen)
        for mutation, (caught, by) in zip(chosen, results):
            passed = passed and caught
            by = by if caught else f"NOT CAUGHT ({by})"
            print(f"   {mutation.file + ': ' + mutation.name:60} {by}", flush=True)
    return passed


def check_models(out: Path) -> bool:
    passed = True
    tasks = [(*m, False) for m in mutations.MODELS]
    tasks += [(*m, True) for m in mutations.MODELS if m[0] in mutations.ACYCLIC]
    with ThreadPoolExecutor(JOBS) as pool:
        results = pool.map(lambda task: check_model(out, *task), tasks)
        for (model, define, cycles), (outcome, text) in zip(tasks, results):
            what = f"{model}.pml {define}{', cycles' if cycles else ''}"
            failure = "" if outcome == "passed" else f"{outcome.upper()} "
            print(f"   {what}: {failure}{text}")
            passed = passed and outcome == "passed"
    return passed


def check_model_mutations(out: Path) -> bool:
    passed = True
    with ThreadPoolExecutor(JOBS) as pool:
        tasks = [(*m, False) for m in mutations.MODEL_MUTATIONS]
        tasks += [(*m, True) for m in mutations.MODEL_CYCLES]
        results = pool.map(lambda task: check_model(out, *task), tasks)
        for (model, define, _), (outcome, text) in zip(tasks, results):
            caught = outcome == "failed"
            passed = passed and caught
            by = text if caught else f"NOT CAUGHT ({outcome}: {text})"
            print(f"   {model + '.pml: ' + define:60} {by}")
    return passed


def check_names(what: str, chosen: list[str], known: list[str]) -> None:
    """What is mistyped selects nothing, and nothing would pass."""
    unknown = [name for name in chosen if name not in known]
    if unknown or not chosen:
        missing = "no " + what + " is called " + ", ".join(map(repr, unknown)) if unknown else what
        listed = "\n".join("    " + name for name in known)
        raise SystemExit(f"{missing}: which? There are\n{listed}")


def main(argv: list[str]) -> int:
    out = Path(argv[1] if len(argv) > 1 else ROOT / "build" / "model")
    what, chosen = (argv[2], argv[3:]) if len(argv) > 2 else ("", [])
    mutants = [m.name for m in mutations.SOURCES]
    if what not in ("", "scenario", "mutation", "mutations") or (chosen and what == "mutations"):
        raise SystemExit(__doc__)
    if what == "mutation":
        check_names(what, chosen, mutants)
    start = time.monotonic()

    def say(text: str) -> None:
        print(f"-- [{time.monotonic() - start:3.0f} s] {text}", flush=True)

    say("building the checker")
    program = build_checker(out)
    names = scenarios_of(program)
    if what == "scenario":
        check_names(what, chosen, names)
    passed = True
    if what in ("", "scenario"):
        say("scenarios (Relacy)")
        passed = check_scenarios(program, chosen or names)
    if not what:
        say("models (spin)")
        passed = check_models(out) and passed
    if what in ("mutation", "mutations"):
        say("mutations: caught by")
        wanted = chosen or mutants
        passed = check_mutations(out, [m for m in mutations.SOURCES if m.name in wanted], names)
    if what == "mutations":
        passed = check_model_mutations(out) and passed
        say("mutations that no check can catch, and why")
        for name, why in mutations.HARMLESS:
            print(f"   {name}: {why}")
    say("passed" if passed else "FAILED")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv))
