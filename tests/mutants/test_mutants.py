"""Tests of the mutation testing: mutants, sample, choice of tests, and report."""

import pytest
from mutants import choosing, judged, report, sampling
from mutants.covered import MeasuredTest
from mutants.mutations import mutants_of_source

FILE = "serving/engine/example.py"
SOURCE = '''
"""The docstring of a module."""

LIMIT = 5


def inside(value: int, limit: int = 3) -> bool:
    """Whether a value is small."""
    if value < 0:
        msg = f"value {value + 1} is too small"
        raise ValueError(msg)
    logger.info("looking at %d", value + 1)
    return value <= limit


class Box:
    @property
    def size(self) -> int:
        return self.width + 1
'''


def changes(source: str) -> dict[str, str]:
    return {
        mutant.name.partition(":")[2]: mutant.change for mutant in mutants_of_source(source, FILE)
    }


def test_functions_are_mutated_and_what_people_read_is_not():
    """Docstrings, annotations, messages, logging and lines outside functions are not mutated."""
    found = changes(SOURCE)

    assert found == {
        "inside:number:1": "- def inside(value: int, limit: int = 3) -> bool:\n"
        "+ def inside(value: int, limit: int = 4) -> bool:",
        "inside:number:2": "- if value < 0:\n+ if value < 1:",
        "inside:swap_op:1": "- if value < 0:\n+ if value <= 0:",
        "inside:swap_op:2": "- return value <= limit\n+ return value < limit",
        "Box.size:swap_op:1": "- return self.width + 1\n+ return self.width - 1",
        "Box.size:number:1": "- return self.width + 1\n+ return self.width + 2",
    }


def test_names_outlast_edits_of_texts_and_of_other_functions():
    """Edits of texts and of other functions add new names and keep all old ones."""
    edited = SOURCE.replace("a value is", "some value\n    is").replace("too small", "not large")
    edited = edited.replace("def inside", "def new(x):\n    return x + 1\n\n\ndef inside")
    edited = edited.replace('logger.info("looking at %d", value + 1)\n    ', "")

    added = changes(edited).keys() - changes(SOURCE).keys()

    assert added == {"new:swap_op:1", "new:number:1"}
    assert changes(edited).keys() >= changes(SOURCE).keys()


@pytest.mark.parametrize(
    ("statement", "count"),
    [
        ('raise InvalidInput("no such input")', 0),
        ('raise InvalidInput("word")', 0),
        ("raise InvalidInput(msg)", 0),
        ("raise Failed(code)", 1),  # Failed(None)
        ('warn("may batch")', 1),  # warn(None)
        ('warn("batch")', 3),  # "XXbatchXX", "BATCH", None
        ('value = f"at most {100 * share:g} %"', 1),  # value = None
        ('value = f"{100 * share:g}"', 3),  # 101, /, None
        ('key = "text/plain; charset=utf-8"', 3),
        ("value = cast(int, value)", 3),  # None, cast(int, None), cast(int)
    ],
)
def test_texts_are_told_from_keys_and_values(statement, count):
    """A message has no mutants inside it; a key, a format or a value has some."""
    assert len(changes(f"def f():\n    {statement}\n")) == count


def test_a_sample_depends_on_seed_and_names_alone():
    """A sample does not depend on the order of the mutants; a larger sample contains it."""
    mutants = mutants_of_source(SOURCE, FILE)
    drawn = sampling.draw(mutants, 3, seed=1)
    others = mutants_of_source(SOURCE.replace("inside", "another"), FILE)

    again = sampling.draw([*reversed(mutants), *others], 12, seed=1)

    assert [each.name for each in sampling.draw(reversed(mutants), 3, seed=1)] == [
        each.name for each in drawn
    ]
    assert {each.name for each in drawn} <= {each.name for each in again}
    assert any(sampling.draw(mutants, 3, seed) != drawn for seed in range(2, 9))


def test_each_package_has_its_least_share():
    """Sizes are proportional, at least `least`, and not larger than the package."""
    sizes = sampling.sizes({"a": 900, "b": 90, "c": 10}, total=400, least=60)

    assert sizes == {"a": 360, "b": 60, "c": 10}


def test_every_package_is_there():
    """Every folder of PACKAGES exists and has modules, so that a renamed folder is noticed."""
    for folders in sampling.PACKAGES.values():
        for folder in folders:
            assert list((judged.LIST.parents[2] / folder).glob("*.py")), folder
    assert sampling.package_of("loadtest/verdict/gates.py") == "loadtest"


def test_the_tests_that_run_a_statement_judge_it():
    """Tests of the module's folder come first; tests beyond the time budget are left out."""
    mutant = next(each for each in mutants_of_source(SOURCE, FILE) if ":swap_op:2" in each.name)
    line = mutant.line
    tests = [
        MeasuredTest("tests/e2e/test_far.py::test_fast", 0.1, 0, {FILE: {line}}),
        MeasuredTest("tests/serving/engine/test_near.py::test_slow", 5, 0, {FILE: {line}}),
        MeasuredTest("tests/serving/engine/test_near.py::test_elsewhere", 0.1, 0, {FILE: {1}}),
        MeasuredTest(
            "tests/e2e/test_far.py::test_endless", choosing.BUDGET_SECONDS, 0, {FILE: {line}}
        ),
    ]

    chosen = choosing.choose(mutant, tests)

    assert [test.name.partition("::")[2] for test in chosen] == ["test_slow", "test_fast"]


def test_a_modules_own_tests_come_before_those_of_its_folder():
    """Tests in test_example.py come first, and are chosen alone if no test runs the line."""
    mutant = next(each for each in mutants_of_source(SOURCE, FILE) if ":swap_op:2" in each.name)
    folder = "tests/serving/engine"
    near, own, child = (
        MeasuredTest(f"{folder}/test_{name}.py::test_it", 1, 0, {FILE: lines})
        for name, lines in (
            ("near", {mutant.line}),
            ("example", {mutant.line}),
            ("example_child", {1}),
        )
    )

    assert choosing.choose(mutant, [near, child, own]) == [own, near]
    assert choosing.choose(mutant, [child]) == [child]


def test_few_tests_are_run_first():
    """The first part has the tests that fit into FIRST_SECONDS, but at least one."""
    tests = [MeasuredTest(f"tests/a.py::{n}", 0.4, 0, {}) for n in (1, 2)]
    slow = [MeasuredTest(f"tests/b.py::{n}", 2 * choosing.FIRST_SECONDS, 0, {}) for n in (1, 2)]

    assert choosing.split([]) == ([], [])
    assert choosing.split([*tests, *slow]) == (tests, slow)
    assert choosing.split(slow) == (slow[:1], slow[1:])


def test_defaults_are_judged_by_all_tests_of_the_function():
    """A mutant of a default is judged by tests of the function's body, as import runs its line."""
    mutant = next(each for each in mutants_of_source(SOURCE, FILE) if "limit: int" in each.change)
    tests = [MeasuredTest("tests/a.py::test_it", 1, 0, {FILE: {mutant.line + 2}})]

    assert choosing.choose(mutant, tests) == tests


def test_the_score_leaves_out_equivalents_and_counts_the_untested():
    """The score is killed and timed out mutants, divided by all that are not equivalent."""
    outcomes = ["killed", "timeout", "survived", "untested", "equivalent"]
    results = [report.Result(f"m{n}", FILE, 1, "c", each, 0, 1) for n, each in enumerate(outcomes)]

    text = report.table(results, dict.fromkeys(sampling.PACKAGES, 10))

    assert report.score(results) == 50
    assert "| serving/engine | 10 | 5 | 1 | 1 | 1 | 1 | 1 | 50.0 % |" in text
    assert "| all | 40 | 5 | 1 | 1 | 1 | 1 | 1 | 50.0 % |" in text
    assert [
        line
        for line in report.survivors(results).splitlines()
        if line in ("m0", "m1", "m2", "m3", "m4")
    ] == [
        "m2",
        "m3",
    ]


def test_a_run_over_its_limit_is_found_by_its_time():
    """Exit codes 0 and 5 mean survived, None or a test's timeout means timeout, others killed."""
    assert [report.outcome_of(code) for code in (0, 5, 1, 2, -9, None)] == [
        "survived",
        "survived",
        "killed",
        "killed",
        "killed",
        "timeout",
    ]
    assert report.outcome_of(1, "a.py::b: Failed: Timeout (>15.0s)") == "timeout"
    assert report.outcome_of(1, "a.py::b: assert 1 == 2") == "killed"


def test_an_entry_applies_to_the_change_it_names():
    """An entry with the mutant's name but another change does not apply and is outdated."""
    mutant = mutants_of_source(SOURCE, FILE)[0]
    entry = {"name": mutant.name, "change": mutant.change + "\n", "reason": "tried"}
    other = {**entry, "change": "- a\n+ b"}

    assert judged.applies(mutant, {mutant.name: entry})
    assert not judged.applies(mutant, {mutant.name: other})
    assert judged.outdated([mutant], {mutant.name: other}) == [mutant.name]


def test_the_list_gives_a_reason_for_each():
    """The committed list can be read, and every entry has a reason of over 20 characters."""
    assert all(len(entry["reason"]) > 20 for entry in judged.read().values())


def test_a_list_without_reasons_is_refused(tmp_path):
    """An entry with an empty reason raises ValueError."""
    file = tmp_path / "list.toml"
    file.write_text('[[equivalent]]\nname = "a:b:c:1"\nchange = "x"\nreason = ""\n')

    with pytest.raises(ValueError, match="expected name, change and reason"):
        judged.read(file)
