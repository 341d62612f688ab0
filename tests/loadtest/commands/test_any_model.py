"""Load tests of models that are no classifiers of CIFAR-10's images."""

import json

import numpy as np
import pytest
from onnx import TensorProto, helper
from PIL import Image
from sample_models import arithmetic_models, tiny_models


@pytest.fixture(scope="module")
def zoo(tmp_path_factory, running_server):
    """Address of a server of `add`, `half_plus_two`, `echo_BYTES`, `brightness` and `centred`.

    `centred` subtracts the mean of the batch: its answer to a row depends on the other rows.
    """
    folder = tmp_path_factory.mktemp("zoo")
    tiny_models.add(folder)
    arithmetic_models.half_plus_two(folder, declared=["batch", 1])
    tiny_models.echo(folder, "BYTES")
    tiny_models.brightness(folder)
    tiny_models.save(
        folder / "centred" / "1" / "model.onnx",
        [
            helper.make_node("ReduceMean", ["x"], ["mean"], axes=[0], keepdims=1),
            helper.make_node("Sub", ["x", "mean"], ["y"]),
        ],
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 2])],
    )
    with running_server(folder) as address:
        yield address


@pytest.mark.parametrize("transport", ["tfs-rest", "kserve-grpc"])
def test_random_rows_are_compared_with_the_servers_own_answers(run, zoo, transport):
    """A model of two inputs and two outputs gets no top-1; all its answers agree."""
    result = run(
        *("--target", zoo, "--model", "add", "--transport", transport, "--random", 40),
        *("--batch", 4, "--users", 3, "--slo-ms", 9000),
    )

    report = result.report
    assert result.exit_code == 0, result.stderr
    assert (report.mismatches.compared, report.mismatches.differing) == (40, 0)
    assert (report.checked.labels, report.checked.record) == (False, "server")
    assert (report.accuracy.n, report.accuracy.top1, report.accuracy.per_class) == (40, None, {})
    assert report.goodput.correct_per_second is None
    assert report.manifest.data.unit == "rows"
    assert report.scenario.plan == "each of 40 random rows once"
    assert [report.model.input["name"], report.model.further_inputs[0]["name"]] == ["a", "b"]
    assert "top-1       n/a (no labels)" in result.stdout
    assert "rows/s" in result.stdout
    assert "images" not in result.stdout
    assert "recorded" not in result.raw
    assert not result.raw["differs"].any()
    page = (result.folder / "report.md").read_text()
    assert "rows/s" in page
    assert "n/a: " in page
    assert "the rows have no labels" in page


def test_answers_that_depend_on_other_rows_are_wrong(run, zoo):
    """`centred` answers a row alone with zeros, and otherwise in a batch: every answer is wrong."""
    result = run("--target", zoo, "--model", "centred", "--random", 8, "--batch", 4)

    report = result.report
    error = report.errors["WRONG_ANSWER"]
    assert result.exit_code == 1
    assert (report.mismatches.differing, report.requests.wrong, error.count) == (8, 2, 2)
    assert 'was answered with output "y" [' in error.first_message
    assert "recorded [0., 0.] of shape (4, 2)" in error.first_message
    assert result.raw["differs"].all()
    assert "failed: wrong-answers: 8 answers differ" in result.stderr


def test_whole_requests_are_recorded_where_rows_are_not_answered(run, zoo):
    """In batches of one, and with the same requests before and in the run, `centred` agrees."""
    result = run("--target", zoo, "--model", "centred", "--random", 8)

    assert result.exit_code == 0, result.stderr
    assert result.report.mismatches.compared == 8


def test_recorded_values_of_a_file_are_compared_within_the_tolerance(run, zoo, tmp_path):
    """A value that is 1 % off is wrong, unless the tolerance is larger."""
    x = np.arange(6, dtype=np.float32)[:, None]
    recorded = x / 2 + 2
    recorded[4] *= 1.01
    np.savez(tmp_path / "rows.npz", x=x, **{"outputs/y": recorded})
    flags = ("--target", zoo, "--model", "half_plus_two", "--inputs", tmp_path / "rows.npz")

    strict, loose = run(*flags), run(*flags, "--answer-tolerance", 0.02)

    assert (strict.exit_code, strict.report.mismatches.differing) == (1, 1)
    assert strict.report.mismatches.examples[0].image == 4
    assert strict.report.errors["WRONG_ANSWER"].first_message.startswith("request ")
    assert strict.report.checked.record == "file"
    assert (loose.exit_code, loose.report.mismatches.differing) == (0, 0)


def test_recorded_classes_and_labels_are_both_compared(run, zoo, tmp_path):
    """JSON rows with labels give accuracy, and recorded answers agreement."""
    rows = [
        {"images": np.full((32, 32, 3), level).tolist(), "label": label, "answer": answer}
        for level, label, answer in ((0, 0, 0), (255, 1, 1), (10, 1, 0), (250, 1, 0))
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))

    result = run("--target", zoo, "--model", "brightness", "--inputs", tmp_path / "rows.jsonl")

    report = result.report
    assert result.exit_code == 1  # the last answer differs from the recorded one
    assert (report.accuracy.correct, report.accuracy.n) == (3, 4)
    assert (report.mismatches.differing, report.mismatches.examples[0].image) == (1, 3)
    assert sorted(result.raw["recorded"].ravel().tolist()) == [0, 0, 0, 1]
    assert report.checked.text.startswith("accuracy, by the labels; agreement with the answers")


def test_texts_are_sent_from_several_processes(run, zoo, tmp_path):
    """Each process reads the file again; texts are compared exactly."""
    np.savez(tmp_path / "rows.npz", x=np.array([["a", "b"], ["é", ""], ["c", "d"]]))

    result = run(
        *("--target", zoo, "--model", "echo_BYTES", "--inputs", tmp_path / "rows.npz"),
        *("--users", 2, "--processes", 2, "--requests", 12, "--transport", "kserve-rest"),
    )

    assert result.exit_code == 0, result.stderr
    assert (result.report.mismatches.compared, result.report.mismatches.differing) == (12, 0)


def test_synthetic_images_need_no_data_set(run, image_target):
    """A newcomer without CIFAR-10 gets a report on agreement, whose notes say why no accuracy."""
    result = run("--target", image_target, "--model", "cat", "--synthetic", 30, CIFAR10_DIR="")

    report = result.report
    assert result.exit_code == 0, result.stderr
    assert report.manifest.data.unit == "images"
    assert report.manifest.data.source == "synthetic, seed 0"
    assert report.mismatches.compared == 30
    assert report.checked.rule == "the same class"
    assert any("synthetic images" in warning for warning in report.warnings)
    assert "per class" not in result.stdout


def test_a_folder_of_images_gives_the_accuracy_of_the_data_set(run, image_target, data_dir, split):
    """The same images in a folder have the same top-1 and the same digest."""
    folder = data_dir / "test"

    ours = run("--target", image_target, "--model", "cat", "--inputs", folder).report
    theirs = run("--target", image_target, "--model", "cat").report

    assert ours.accuracy == theirs.accuracy  # with the names of the classes
    assert ours.manifest.data.sha256 == theirs.manifest.data.sha256
    assert ours.scenario.plan == "each of 24 images of test once"
    assert theirs.scenario.plan == "each of 24 test images once"


def test_unlabelled_images_can_be_sent_unchecked(run, image_target, tmp_path):
    """With --no-record-answers and without labels, the report says that nothing was checked."""
    for number in range(3):
        Image.new("RGB", (32, 32), (number, 0, 0)).save(tmp_path / f"{number}.png")

    result = run(
        *("--target", image_target, "--model", "echo", "--inputs", tmp_path),
        "--no-record-answers",
    )

    assert result.exit_code == 0, result.stderr
    assert result.report.mismatches is None
    assert "checked     nothing" in result.stdout
    assert any("checked against nothing" in text for text in result.report.warnings)


def test_find_capacity_takes_rows_too(run, zoo):
    """The search sends random rows, and every step compares their answers."""
    result = run(
        *("--target", zoo, "--model", "add", "--random", 20, "--slo-ms", 9000),
        *("--percentile", 90, "--start-rate", 300, "--max-steps", 1, "--step-seconds", 0.1),
        *("--confirm-seconds", 0.1, "--warmup-requests", 1),
        command="find-capacity",
    )

    assert result.report.capacity.steps[0].passed, result.stderr
    assert result.report.mismatches.differing == 0
    assert result.report.mismatches.compared > 0


def test_two_runs_without_labels_can_be_compared_as_baselines(run, zoo):
    """Neither run has a top-1, so the baseline has no gate for it."""
    flags = (
        "--target",
        zoo,
        "--model",
        "add",
        "--random",
        70,
        "--tolerance",
        1e6,
        "--percentile",
        90,
    )
    first = run(*flags)

    second = run(*flags, "--baseline", first.folder)

    assert second.exit_code == 0, second.stderr
    assert {gate.name for gate in second.report.gates} >= {"baseline-p50", "wrong-answers"}
    assert "baseline-accuracy" not in {gate.name for gate in second.report.gates}


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        pytest.param(["--random", "0"], "--random: '0' received", id="no-rows"),
        pytest.param(["--random", "--synthetic"], "not allowed with", id="two-sources"),
        pytest.param(["--input-shape", "a=2"], "--input-shape given without", id="shape-alone"),
        pytest.param(["--random", "--input-shape", "a"], "NAME=SIZES", id="shape-without-sizes"),
        pytest.param(["--random", "--models-dir", "x"], "--models-dir given with", id="record"),
        pytest.param(["--random", "--min-accuracy", "0.5"], "no labels", id="accuracy"),
        pytest.param(["--synthetic"], 'has the inputs "a", "b", expected exactly one', id="inputs"),
        pytest.param(["--inputs", "/nowhere.npz"], "cannot read rows from /nowhere", id="no-file"),
        pytest.param(["--inputs", "/nowhere.csv"], "ends with .npz or .jsonl", id="form"),
        pytest.param(["--random", "--answer-tolerance", "2"], "'2' received", id="tolerance"),
    ],
)
def test_what_cannot_be_sent_ends_in_one_line(run, zoo, flags, words):
    """Contradicting flags and rows that do not fit end with exit code 2 and one line."""
    result = run("--target", zoo, "--model", "add", *flags)

    last = result.stderr.splitlines()[-1]
    assert (result.exit_code, "error: " in last) == (2, True)
    assert words in last
