import subprocess
import sys

import pytest

from export.__main__ import _COMMANDS
from export.arguments import PUBLISH_RUN, parse

NAMES = (
    *("saved-model", "onnx", "add-precision", "prove-rows", "judge", "benchmark", "robustness"),
    *("near-ties", "tables"),
)


@pytest.fixture
def help_text(capsys):
    """A function that returns what `WORDS --help` prints."""

    def read(*words):
        with pytest.raises(SystemExit) as stop:
            parse([*words, "--help"])
        assert stop.value.code == 0
        return capsys.readouterr().out

    return read


def test_help_lists_every_command_with_a_line(help_text):
    """`--help` lists the other commands below the flags, each with a description, in 80 columns."""
    text = help_text()

    assert text.startswith("usage: python -m export [-h]")
    listed = text.partition("other commands, each with its own --help:\n")[2].splitlines()
    assert [line.split()[0] for line in listed] == list(NAMES)
    assert all(len(line.split()) > 4 for line in listed)
    assert max(map(len, listed)) <= 80


@pytest.mark.parametrize("name", NAMES)
def test_every_command_has_its_own_help(help_text, name):
    """The help of a command starts with its usage."""
    assert help_text(name).startswith(f"usage: python -m export {name} [-h]")


def test_every_command_can_be_run():
    """The dispatcher has a function for each name that the parser may give."""
    assert set(_COMMANDS) == {PUBLISH_RUN, *NAMES}


@pytest.mark.parametrize(
    ("words", "command"),
    [
        (["runs/simcnn"], PUBLISH_RUN),
        (["--name", "tables", "runs/simcnn"], PUBLISH_RUN),
        (["tables", "--check"], "tables"),
        (["prove-rows", "models/simcnn/1"], "prove-rows"),
        (["judge", "models/simcnn/1", "--print-only"], "judge"),
        (["benchmark", "models/simcnn/1", "--json"], "benchmark"),
    ],
)
def test_the_first_word_may_name_a_command(words, command):
    """The first word selects a command; without a command's name a run is published."""
    assert parse(words).command == command


def test_help_needs_neither_tensorflow_nor_onnx_runtime():
    """`--help` imports neither TensorFlow, Keras, onnx nor ONNX Runtime, so it is fast."""
    program = (
        "import contextlib, io, sys\nfrom export.__main__ import main\n"
        "with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):\n"
        "    main(['--help'])\n"
        "print({'tensorflow', 'keras', 'onnx', 'onnxruntime'} & set(sys.modules))"
    )

    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )

    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize("precisions", ["int4", "fp32,int4", "fp32 w8", ""])
def test_unknown_precisions_are_refused(call, run_dir, capsys, precisions):
    """An unknown precision ends with exit code 2 and a list of the known ones."""
    with pytest.raises(SystemExit) as stop:
        call(run_dir, "--precision", precisions)

    assert stop.value.code == 2
    assert "received, expected a list of fp32, fp16, w8, int8" in capsys.readouterr().err


def test_free_size_must_be_positive(call, tmp_path, capsys):
    """`--free-size 0` ends with exit code 2 and a message that names the flag."""
    with pytest.raises(SystemExit) as stop:
        call("saved-model", tmp_path, "--name", "x", "--free-size", "0")

    assert stop.value.code == 2
    assert "--free-size: 0 received, expected 1 or more" in capsys.readouterr().err


def test_fp32_cannot_be_added(call, published, capsys):
    """`add-precision` refuses fp32, which only a training makes."""
    with pytest.raises(SystemExit) as stopped:
        call("add-precision", published.path, "--precision", "fp32,w8")

    assert stopped.value.code == 2
    assert "fp32 received, expected other precisions" in capsys.readouterr().err
