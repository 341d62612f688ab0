from pathlib import Path

import pytest

from loadtest.matrix.command import DEFAULT_FILE
from loadtest.matrix.file import read
from loadtest.settings.config import UsageError


def test_lists_make_a_run_for_each_combination(matrix_toml):
    """Two batches times two rates give four scenarios, each with the defaults."""
    file = matrix_toml("""
        repeats = 2
        [defaults]
        requests = 10
        floor = true
        server-timing = false
        [[targets]]
        address = "localhost:8500"
        [[scenarios]]
        scenario = "server"
        batch = [1, 4]
        rate = [10, 20.5]
        models = ["cat"]
    """)

    found = read(file)

    assert [str(scenario) for scenario in found.scenarios] == [
        f"run --requests=10 --floor --scenario=server --batch={batch} --rate={rate}"
        for batch in (1, 4)
        for rate in ("10", "20.5")
    ]
    assert found.scenarios[0].models == ("cat",)
    assert (found.name, found.repeats) == ("matrix", 2)


KEPT = Path(__file__).parents[2] / "data" / "schemas"


@pytest.mark.parametrize("file", sorted(KEPT.glob("*/matrix.toml")), ids=lambda f: f.parent.name)
def test_a_matrix_of_an_earlier_release_is_read(file):
    """The bundled matrix of each release gives its runs, with and without a schema version."""
    matrix = read(file)

    assert (matrix.name, matrix.repeats) == ("bundled models", 3)
    assert len(matrix.scenarios) > 1


HEAD = '[[targets]]\naddress = "localhost:8500"\n'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("repeats = ", "cannot read a matrix from", id="no-toml"),
        pytest.param("[[scenarios]]\n", "no [[targets]]", id="no-targets"),
        pytest.param(HEAD, "no [[scenarios]]", id="no-scenarios"),
        pytest.param("repeat = 3\n" + HEAD + "[[scenarios]]\n", "repeat of the file", id="typo"),
        pytest.param("repeats = 0\n" + HEAD + "[[scenarios]]\n", "repeats 0", id="no-repeats"),
        pytest.param('repeats = "3"\n' + HEAD, "'3', expected int", id="text-for-a-number"),
        pytest.param('[[targets]]\nname = "x"\n', "either address or serve", id="no-server"),
        pytest.param('[[targets]]\naddress = "x"\n', "expected HOST:PORT", id="address"),
        pytest.param(
            '[[targets]]\naddress = "x:1"\nprecisions = ["w8"]\n',
            "precisions of targets 1 cannot be chosen",
            id="precision-of-others",
        ),
        pytest.param(
            HEAD + HEAD + "[[scenarios]]\n", "expected different names", id="equal-targets"
        ),
        pytest.param(
            HEAD + '[[scenarios]]\ncommand = "web"\n', "'web', expected run or", id="command"
        ),
        pytest.param(
            HEAD + '[[scenarios]]\nmodel = "cat"\n', "model of scenarios 1: the matrix", id="own"
        ),
        pytest.param(
            HEAD + '[[scenarios]]\nsave-samples = "a.npz"\n',
            "save-samples of scenarios 1: every run would write the same file",
            id="samples",
        ),
        pytest.param(
            HEAD + "[[scenarios]]\nrats = 5\n",
            "gives a wrong command line (see the error above): run --rats=5",
            id="unknown-flag",
        ),
    ],
)
def test_a_matrix_that_cannot_be_right_is_refused_before_anything_starts(matrix_toml, text, words):
    """A wrong matrix raises UsageError with the file and the place in it."""
    file = matrix_toml(text)

    with pytest.raises(UsageError) as refused:
        read(file)

    assert words in str(refused.value)
    assert str(file) in str(refused.value)


def test_the_shipped_matrix_is_right():
    """The commands accept every command line of the package's own matrix."""
    shipped = read(DEFAULT_FILE)
    full = read(DEFAULT_FILE.with_name("matrix-full.toml"))

    assert shipped.repeats == full.repeats >= 3
    assert shipped.max_seconds is not None
    assert shipped.max_seconds < 900
    assert "--confirm-seconds=60" in shipped.scenarios[-1].flags
    assert "--confirm-seconds=600" in full.scenarios[-1].flags
    assert shipped.scenarios[:-1] == full.scenarios[:-1]
    assert shipped.scenarios[-1].repeats == full.scenarios[-1].repeats == 1
    assert [target.serve for target in shipped.targets] == [()]
