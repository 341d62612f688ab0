"""The command line of `tune`, and the model that it chooses."""

import json
from pathlib import Path

import pytest

from loadtest.settings.config import UsageError
from loadtest.tune.arguments import parse
from loadtest.tune.served_model import alone, find
from serving.engine import machine

BUNDLED = Path(__file__).parents[3] / "models"


def test_the_latency_bound_alone_is_enough(monkeypatch):
    """`tune --slo-ms 20` in a checkout tunes the smaller bundled model in all its precisions."""
    monkeypatch.chdir(BUNDLED.parent)

    config = parse(["--slo-ms=20", "--cores=2"])

    assert config.model.name == "simcnn"
    assert config.model.others == ("resnet50",)
    assert set(config.model.top1) == {"fp32", "int8", "w8"}
    assert all(share and 0.8 < share < 0.9 for share in config.model.top1.values())
    assert len(config.cells) == 7 * 3 * 3
    assert config.env_file == config.run.output_dir / "tuned.env"
    assert (config.run.slo_ms, config.run.percentile) == (20, 99)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param([], "--slo-ms", id="no bound"),
        pytest.param(["--slo-ms=20", "--pairs=5"], "5 received, an interval needs 6", id="pairs"),
        pytest.param(["--slo-ms=20", "--workers=1,x"], "'x' received", id="no number"),
        pytest.param(["--slo-ms=20", "--precisions=int8,"], "'int8,' received", id="no name"),
    ],
)
def test_a_wrong_command_line_is_one_line(arguments, words, capsys):
    """The exit code is 2, and one line says what was received."""
    with pytest.raises(SystemExit) as ended:
        parse([*arguments, f"--models-dir={BUNDLED}"])

    error = capsys.readouterr().err
    assert ended.value.code == 2
    assert error.count("\n") == 1
    assert words in error


@pytest.mark.parametrize("flag", ["--workers=3", "--max_batch_size", "batch"])
def test_a_tuned_flag_is_not_for_every_server(flag):
    """--serve refuses the flags that the search sets, and what is no flag."""
    with pytest.raises(UsageError, match=r"--serve .* none of those that are tuned"):
        parse(["--slo-ms=20", f"--models-dir={BUNDLED}", f"--serve={flag}"])


def test_cores_are_counted_as_the_server_counts_them():
    """Without --cores the grid is for the cores that the server would use."""
    config = parse(["--slo-ms=20", f"--models-dir={BUNDLED}"])

    assert config.limits.cores == config.limits.server_cores == machine.available_cores()
    assert parse(["--slo-ms=20", f"--models-dir={BUNDLED}", "--cores=7"]).limits.cores == 7


def test_precisions_of_the_newest_version_are_found(tmp_path):
    """Graphs of the highest version number count; other models are named."""
    for name, files in {
        "a/1": ["model.onnx", "model.fp16.onnx"],
        "a/10": ["model.int8.onnx", "model.w8.onnx", "model.other.onnx"],
        "b/2": ["model.onnx"],
        "empty": [],
    }.items():
        folder = tmp_path / name
        folder.mkdir(parents=True)
        for file in files:
            (folder / file).write_bytes(b"x" * 100)

    model = find(tmp_path, "a")

    assert (model.version, model.others) == (10, ("b",))
    assert model.top1 == {"int8": None, "w8": None}


def test_the_smallest_model_is_the_default(tmp_path):
    """Without a name the model with the smallest graph is chosen."""
    for name, size in {"big": 300, "small": 100, "middle": 200}.items():
        folder = tmp_path / name / "1"
        folder.mkdir(parents=True)
        (folder / "model.onnx").write_bytes(b"x" * size)

    assert find(tmp_path, None).name == "small"


def test_a_precision_below_the_accuracy_is_left_out(tmp_path):
    """--min-accuracy leaves precisions with a lower record out, and refuses if none is left."""
    folder = tmp_path / "a" / "1"
    folder.mkdir(parents=True)
    for name in ("model.onnx", "model.int8.onnx", "model.w8.onnx"):
        (folder / name).write_bytes(b"x")
    variants = {"fp32": {"top1": 0.9}, "int8": {"top1": 0.85}}
    (folder / "metrics.json").write_text(json.dumps({"variants": variants}))

    assert find(tmp_path, "a").top1 == {"fp32": 0.9, "int8": 0.85, "w8": None}
    assert find(tmp_path, "a", min_accuracy=0.9).top1 == {"fp32": 0.9, "w8": None}
    with pytest.raises(UsageError, match=r"reaches --min-accuracy 0\.9: int8 85\.00 %"):
        find(tmp_path, "a", precisions=["int8"], min_accuracy=0.9)


@pytest.mark.parametrize(
    ("name", "precisions", "words"),
    [
        ("dog", None, r"has the models: cat.*; expected .*/dog/<version>/model\.onnx"),
        ("cat", ["int8"], r"--precisions has int8, but .* has fp32"),
    ],
)
def test_what_a_folder_lacks_is_refused(image_models_dir, name, precisions, words):
    """An unknown model or precision is refused with what there is."""
    with pytest.raises(UsageError, match=words):
        find(image_models_dir, name, precisions=precisions)


def test_a_folder_that_cannot_be_read_is_refused(tmp_path):
    """A missing folder is one line that names the flag."""
    with pytest.raises(UsageError, match=r"cannot read --models-dir .*nowhere: No such file"):
        find(tmp_path / "nowhere", None)


def test_one_model_is_served_alone(image_models_dir, tmp_path, running_server):
    """The folder of links has this one model, which a server serves; it is gone afterwards."""
    folder = tmp_path / "links" / "models"
    with alone(image_models_dir, "cat", folder):
        assert [path.name for path in folder.iterdir()] == ["cat"]
        with running_server(folder) as address:
            assert address

    assert not folder.exists()
    assert (image_models_dir / "cat" / "1" / "model.onnx").is_file()
