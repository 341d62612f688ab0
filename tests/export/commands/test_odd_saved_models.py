"""`saved-model` ends in a refusal or in a version that answers, whatever folder it is given."""

import os
import re

import pytest
from sample_saved_models import odd_saved_models

from serving.repository import model_folder

REFUSED = {**odd_saved_models.NO_MODEL, **odd_saved_models.REFUSED}


@pytest.fixture
def publish(call, capsys, tmp_path):
    """Publishes the folder that a function writes.

    Returns the exit code, the lines of stdout, stderr and the models folder.
    """

    def invoke(write, *flags):
        source = write(tmp_path / "saved")
        capsys.readouterr()  # drops TensorFlow's messages about saving
        models = tmp_path / "models"
        return *call("saved-model", source, "--name", "odd", "--models-dir", models, *flags), models

    return invoke


def check_refusal(code, stderr, models):
    assert code in {1, 2}
    assert stderr.startswith("error: ")
    if code == 2:
        assert stderr.count("\n") == 1
    assert "Traceback" not in stderr
    assert ".publishing-" not in stderr
    assert not list(models.rglob("*"))


@pytest.mark.parametrize("name", REFUSED)
def test_refusal_is_one_line(publish, name):
    """A refusal has exit code 1 or 2, no traceback, no temporary path, and leaves no file."""
    code, _, stderr, models = publish(REFUSED[name])

    check_refusal(code, stderr, models)


@pytest.mark.slow
@pytest.mark.parametrize("name", odd_saved_models.REFUSED_SLOWLY)
def test_refusal_by_answers_leaves_nothing(publish, name):
    """Models that are refused only after TensorFlow has answered leave no file either."""
    code, _, stderr, models = publish(odd_saved_models.REFUSED_SLOWLY[name])

    check_refusal(code, stderr, models)


@pytest.mark.slow
@pytest.mark.parametrize("name", odd_saved_models.PUBLISHED)
def test_odd_models_are_published(publish, name):
    """Odd names, types and shapes pass the gates, and every file agrees with the manifest."""
    code, lines, stderr, models = publish(odd_saved_models.PUBLISHED[name])

    assert (code, stderr) == (0, "")
    assert lines[-1].startswith(f"published {models}/odd/1: ")
    assert model_folder.read(models / "odd" / "1").signatures


def test_there_are_at_least_sixty_odd_folders():
    """The odd SavedModels are at least sixty, and no name occurs twice."""
    groups = (REFUSED, odd_saved_models.REFUSED_SLOWLY, odd_saved_models.PUBLISHED)

    assert len({name for group in groups for name in group}) == sum(map(len, groups)) >= 60


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("h5 file", r"is a Keras file, .* keras.saving.load_model\(file\).export\(folder\)"),
        ("tflite file", "is a TensorFlow Lite file"),
        ("onnx file", "python -m export onnx"),
        ("empty saved_model.pb", "has 0 bytes and no graph"),
        ("tagged train", r"graphs tagged \[\['train'\]\], expected one tagged \['serve'\]"),
        ("no signature", "has no signature"),
        ("input that is not there", "input 'x' is tensor 'gone:0', which the graph does not have"),
        ("truncated data", r"TensorFlow [\d.]+ cannot load .*Read less bytes than requested"),
        ("asset is gone", "words.txt; No such file or directory"),
        ("variables link to their parent", "links to a folder that it is in"),
        ("unknown operation", "not registered 'SimpleMLInferenceOpWithHandle'"),
        ("graph of the future", "min consumer version 999999"),
        ("counter", "outputs depend on variables that it changes when it is called"),
        ("python function", "no counterpart for TensorFlow's EagerPyFunc; .*the extra tensorflow"),
        ("complex output", "no counterpart for TensorFlow's FFT"),
        ("bfloat16", "element type 14, .*the extra tensorflow"),
        ("base path with a broken version", "saved/2/saved_model.pb is not a SavedModel"),
    ],
)
def test_refusal_says_what_was_received(publish, name, told):
    """A refusal names the cause and, if there is one, the way out."""
    _, _, stderr, _ = publish(REFUSED[name])

    assert re.search(told, stderr)


def test_unreadable_folder_is_named(publish, capsys):
    """A folder of another user is refused with one line: Permission denied."""

    def write(folder):
        odd_saved_models.plain(folder)
        if os.geteuid() != 0:
            folder.chmod(0)
        return folder

    user = os.geteuid()
    try:
        if user == 0:  # root reads everything
            write_as_root = write

            def write(folder):
                write_as_root(folder)
                os.seteuid(65534)
                return folder

        code, _, stderr, _ = publish(write)
    finally:
        os.seteuid(user)

    assert (code, stderr.count("\n")) == (2, 1)
    assert re.search(r"saved cannot be read \(Permission denied\)", stderr)


@pytest.mark.parametrize("flags", [(), ("--debug",)], ids=["plain", "debug"])
def test_traceback_is_shown_on_demand(publish, flags):
    """`--debug` prints the traceback before the line of the error; without it there is none."""
    code, _, stderr, _ = publish(REFUSED["no index"], *flags)

    assert code == 2
    assert ("Traceback" in stderr) == bool(flags)
    assert stderr.splitlines()[-1].startswith("error: TensorFlow")
