"""Which tests judge a mutant, in which order, and how long they may take."""

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
# A test fails, and a run is ended, after so many seconds and so many times what they take without a
# mutant. A run waits for nothing else, so its grace is what starting it may take.
GRACE_SECONDS_OF_A_TEST = 15
GRACE_SECONDS = 60
SLOWDOWN = 5


def choose(mutant: Mutant, tests: Iterable[MeasuredTest]) -> list[MeasuredTest]:
    """The tests that run the statement that a mutant changes: all, or the fastest of many.

    If none runs it, child processes may: then the mutated module's own tests are chosen.

    They are ordered by module, so that a module's fixtures are made once: the mutated module's own
    tests first, then those of its folder, then the fastest.
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
    """The tests to run first, at least one if there is any, and the others."""
    seconds = 0.0
    for number, test in enumerate(tests):
        seconds += test.seconds
        if number and seconds > FIRST_SECONDS:
            return tests[:number], tests[number:]
    return tests, []


def limit_seconds_of_a_test(test: MeasuredTest) -> float:
    """When a test fails, if it goes on."""
    return GRACE_SECONDS_OF_A_TEST + SLOWDOWN * test.seconds + 3 * test.fixture_seconds


def limit_seconds(tests: Sequence[MeasuredTest]) -> float:
    """When a run of these tests is ended from outside, should no signal end its tests."""
    return GRACE_SECONDS + SLOWDOWN * sum(test.seconds for test in tests)


@lru_cache(maxsize=1024)
def _statement(source: str, line: int) -> set[int]:
    """The lines of the innermost statement at a line.

    Of a statement with a body, the lines before it; of a function's head, the whole function, as
    defaults of parameters are evaluated before any test runs.
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
