"""Chooses the tests that judge a mutant, their order and their time limits."""

import ast
from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import lru_cache

from mutants.covered import MeasuredTest
from mutants.mutations import Mutant

# Seconds that the tests chosen for a mutant take without it; the slowest are left out.
BUDGET_SECONDS = 20
# Of these, the first are run by themselves: nearly all mutants that any test detects are detected
# by them, and fewer test modules are imported.
FIRST_SECONDS = 3
# The time limit is SLOWDOWN times the time without a mutant, plus the grace. At the limit a test
# fails, and a run is killed. The grace of a run is the time that its start may take.
GRACE_SECONDS_OF_A_TEST = 15
GRACE_SECONDS = 60
SLOWDOWN = 5


def choose(mutant: Mutant, tests: Iterable[MeasuredTest]) -> list[MeasuredTest]:
    """Return the tests that run the changed statement; if they take too long, the fastest of them.

    If no test runs the statement in its own process, a child process of a test may run it:
    then the tests of the mutated module are chosen.

    The tests are grouped by module, so that each module's fixtures are made once. The tests of the
    mutated module come first, then those of its folder, then the fastest modules.
    """
    statement = _statement(mutant.tree.code, mutant.line)
    folder, _, name = mutant.file.rpartition("/")

    def distance(module: str) -> int:
        if module.startswith(f"tests/{folder}/test_{name.removesuffix('.py')}"):
            return 0
        return 1 if module.startswith(f"tests/{folder}/") else 2

    covering = [test for test in tests if statement & test.lines.get(mutant.file, set())]
    covering = covering or [test for test in tests if distance(test.module) == 0]
    covering.sort(key=lambda test: (distance(test.module), test.seconds, test.name))
    chosen: dict[str, list[MeasuredTest]] = defaultdict(list)
    seconds = 0.0
    for test in covering:
        if seconds + test.seconds <= BUDGET_SECONDS:
            seconds += test.seconds
            chosen[test.module].append(test)
    modules = sorted(
        chosen.values(),
        key=lambda group: (distance(group[0].module), sum(each.seconds for each in group)),
    )
    return [test for group in modules for test in group]


def split(tests: Sequence[MeasuredTest]) -> tuple[Sequence[MeasuredTest], Sequence[MeasuredTest]]:
    """Split the tests into those to run first, at least one if there are any, and the others."""
    seconds = 0.0
    for number, test in enumerate(tests):
        seconds += test.seconds
        if number and seconds > FIRST_SECONDS:
            return tests[:number], tests[number:]
    return tests, []


def limit_seconds_of_a_test(test: MeasuredTest) -> float:
    """Return the time after which a test that still runs fails, in seconds."""
    return GRACE_SECONDS_OF_A_TEST + SLOWDOWN * test.seconds + 3 * test.fixture_seconds


def limit_seconds(tests: Sequence[MeasuredTest]) -> float:
    """Return the time after which a run of these tests is killed, in seconds.

    The run is killed if a test does not end at its own limit, which a signal in its process sets.
    """
    return GRACE_SECONDS + SLOWDOWN * sum(test.seconds for test in tests)


@lru_cache(maxsize=1024)
def _statement(source: str, line: int) -> set[int]:
    """Return the line numbers of the innermost statement at a line.

    For a statement with a body these are the lines before the body. For the head of a function they
    are the function's body, because defaults of parameters are evaluated before any test runs.
    """
    found = {line}
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.stmt | ast.ExceptHandler | ast.match_case):
            continue
        first = node.pattern.lineno if isinstance(node, ast.match_case) else node.lineno
        last = (node.body[-1] if isinstance(node, ast.match_case) else node).end_lineno
        if first <= line <= last:
            body = getattr(node, "body", None)
            head = range(first, body[0].lineno if body else last + 1)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                found = set(range(body[0].lineno, last + 1))
            elif line in head or not body:
                found = set(head)
            elif not isinstance(node, ast.ClassDef):
                found = {line}
    return found
