import json
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
CASES = """
import time, pytest

@pytest.fixture(scope="module")
def slow():
    time.sleep(0.3)

def test_long(slow): pass
def test_short(): pass
@pytest.mark.parametrize("text", ["a", "b/c::d"])
def test_many(text): pass
"""


@pytest.fixture
def run(tmp_path):
    """Return a function that runs the cases with pytest options, and returns pytest's output."""
    (tmp_path / "conftest.py").write_text(
        "import time_budget\n"
        "from pathlib import Path\n"
        "time_budget.RECORD = Path(__file__).parent / 'long.json'\n"
        "time_budget.LONG_SECONDS = 0.2\n"
        "pytest_addoption = time_budget.add_options\n"
        "pytest_configure = time_budget.register\n"
    )
    (tmp_path / "test_cases.py").write_text(CASES)

    def run_pytest(*options: str) -> str:
        command = [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", *options]
        done = subprocess.run(
            [*command, "-o", f"pythonpath={TESTS}", "--rootdir", str(tmp_path), str(tmp_path)],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run_pytest


def order(output: str) -> list[str]:
    lines = [line.split() for line in output.splitlines() if line.startswith("test_cases.py::")]
    return [f"{name.removeprefix('test_cases.py::')} {outcome}" for name, outcome, *_ in lines]


def test_long_tests_are_recorded(run, tmp_path):
    """A test's record has its fixtures' time, and so has the file; others keep their record."""
    (tmp_path / "long.json").write_text('{"test_cases.py::test_short": 9, "gone.py::test": 5}')
    run("--record-long-tests")
    record = json.loads((tmp_path / "long.json").read_text())

    assert record.keys() == {"test_cases.py", "test_cases.py::test_long", "gone.py::test"}
    assert 0.3 <= record["test_cases.py::test_long"] < 5


def test_long_tests_run_last(run, tmp_path):
    """With minutes left, the long tests run after the others."""
    names = ["test_cases.py::test_long", "test_cases.py::test_many[b/c::d]"]
    (tmp_path / "long.json").write_text(json.dumps(dict.fromkeys(names, 3)))

    assert order(run("--minutes=5")) == [
        "test_short PASSED",
        "test_many[a] PASSED",
        "test_long PASSED",
        "test_many[b/c::d] PASSED",
    ]


def test_tests_of_a_file_with_long_fixtures_are_long(run, tmp_path):
    """If the fixtures of a file take long, all of its tests run last, and are skipped in time."""
    (tmp_path / "test_a.py").write_text("def test_of_a(): pass\n")
    (tmp_path / "test_b.py").write_text("def test_of_b(): pass\n")
    (tmp_path / "long.json").write_text('{"test_a.py": 4, "test_b.py": 3}')
    names = [line.split()[0] for line in run("--minutes=5").splitlines() if "::test" in line]
    skipped = run("--minutes=0")

    assert names[-2:] == ["test_b.py::test_of_b", "test_a.py::test_of_a"]
    assert "4 passed, 2 skipped" in skipped


def test_tests_of_training_run_last(run, tmp_path):
    """The tests of training come after the long ones of other folders, as without the option."""
    folder = tmp_path / "tests" / "training"
    folder.mkdir(parents=True)
    (folder / "test_short.py").write_text("def test_of_training(): pass\n")
    (tmp_path / "long.json").write_text('{"test_cases.py::test_long": 3}')
    names = [line.split()[0] for line in run("--minutes=5").splitlines() if "::test" in line]

    assert names[-2:] == [
        "test_cases.py::test_long",
        "tests/training/test_short.py::test_of_training",
    ]


def test_long_tests_do_not_begin_after_the_minutes(run, tmp_path):
    """When the minutes are over, long tests are skipped and listed by name; the others run."""
    (tmp_path / "long.json").write_text('{"test_cases.py::test_long": 3}')
    output = run("--minutes=0", "-ra")

    assert order(output)[-1] == "test_long SKIPPED"
    assert "NOT RUN: test_cases.py::test_long" in output
    assert "3 passed, 1 skipped" in output
    assert "the --minutes of this run were over" in output


def test_no_test_begins_long_after_the_minutes(run, tmp_path):
    """When the grace is over, too, short tests and those without a record are skipped."""
    (tmp_path / "long.json").write_text('{"test_cases.py::test_long": 3}')
    output = run("--minutes=-4")

    assert "4 skipped" in output
    assert "NOT RUN: test_cases.py::test_short" in output


def test_without_the_option_the_order_is_pytests(run):
    """Without options nothing is reordered, and no record is needed."""
    assert order(run())[0] == "test_long PASSED"
