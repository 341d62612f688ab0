"""Mutation testing: `make mutants`, or `python tests/mutants`.

A mutant is the source with one small change. The tests that run the changed line are run against
the mutant in a copy of the working tree. If none of them fails, the mutant survives. The score is
the share of mutants that do not survive. The results are written to build/mutants. The exit code is
1 if the score is below `report.LEAST_SCORE`, or if tests fail without a mutant.
"""

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[0] = str(ROOT / "tests")

from mutants import covered, judged, report, sampling, workplace
from mutants.mutations import Mutant
from mutants.trials import Trials

OUTPUT = ROOT / "build" / "mutants"


def main() -> int:
    """Try the mutants that the command line asks for."""
    # On SIGTERM exit through the `finally` blocks, which end the running tests.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    options = _parser().parse_args()
    OUTPUT.mkdir(parents=True, exist_ok=True)
    entries = judged.read()
    found = sampling.find_mutants(ROOT)
    everything = [mutant for mutants in found.values() for mutant in mutants]
    wanted = _wanted(options, found, everything)
    wanted.sort(key=lambda mutant: sampling.rank(mutant.name, options.seed))
    print(f"{len(everything):,} mutants, {len(wanted):,} to try", flush=True)

    started = time.monotonic()
    workplace.preload()
    with tempfile.TemporaryDirectory(prefix="mutants-", ignore_cleanup_errors=True) as folder:
        trees = [Path(folder) / f"tree{number}" for number in range(options.jobs)]
        for tree in trees:
            workplace.copy_tree(ROOT, tree)
        tests = covered.collect(ROOT, trees[0], OUTPUT)
        modules = sorted({test.module for test in tests})
        for tree in trees:
            workplace.compile_tests(tree, modules, OUTPUT / "compiling.log")
        measured = time.monotonic()
        known = report.read(OUTPUT / "tried.json") if options.keep_killed else []
        trials = Trials(tests, entries, known, OUTPUT)
        results, wrong = trials.run(wanted, trees)
    seconds = time.monotonic() - measured
    results.sort(key=lambda each: each.name)

    partial = options.names or options.survivors
    if not partial:
        report.write(results, OUTPUT / "results.json")
    print(report.survivors(results), end="\n\n")
    for name in judged.outdated(everything, entries):
        print(f"equivalent.toml: no mutant is {name} with that change any more")
    if not partial:
        print(report.table(results, {name: len(mutants) for name, mutants in found.items()}))
    print(
        f"\n{measured - started:.0f} s to measure the tests, {seconds:.0f} s for {len(results)} "
        f"mutants with seed {options.seed}, {options.jobs} at a time"
    )
    for line in wrong:
        print(f"fails without a mutant: {line}")
    return int(bool(wrong) or report.score(results) < report.LEAST_SCORE)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--all", action="store_true", help="try all mutants, not a sample")
    parser.add_argument("--total", type=int, default=400, help="approximate size of the sample")
    parser.add_argument("--least", type=int, default=70, help="smallest sample of a package")
    parser.add_argument("--seed", type=int, default=2026, help="decides the sample")
    parser.add_argument("--jobs", type=int, default=2, help="mutants that are tried at a time")
    parser.add_argument(
        "--survivors", action="store_true", help="try only the survivors of the last sample"
    )
    parser.add_argument(
        "--keep-killed", action="store_true", help="do not try again what the last run killed"
    )
    parser.add_argument("names", nargs="*", help="try only mutants whose names begin with this")
    return parser


def _wanted(
    options: argparse.Namespace, found: dict[str, list[Mutant]], everything: Sequence[Mutant]
) -> list[Mutant]:
    """Return the mutants to try, as the command line selects them."""
    if options.survivors:
        last = report.read(OUTPUT / "results.json")
        survived = {each.name for each in last if each.outcome in ("survived", "untested")}
        return [mutant for mutant in everything if mutant.name in survived]
    if options.names:
        return [each for each in everything if each.name.startswith(tuple(options.names))]
    if options.all:
        return [mutant for mutant in everything if mutant.valid]
    counts = {package: len(mutants) for package, mutants in found.items()}
    sizes = sampling.sizes(counts, total=options.total, least=options.least)
    return [
        mutant
        for package, mutants in found.items()
        for mutant in sampling.draw(mutants, sizes[package], options.seed)
    ]


if __name__ == "__main__":
    sys.exit(main())
