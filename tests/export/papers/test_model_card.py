import copy
import re
from dataclasses import replace

import pytest
from sample_results import sample_metrics as sample

from export.papers import model_card
from export.sources import saved_model
from serving.repository import model_folder
from training.settings.search_record import SearchRecord


@pytest.fixture(scope="module")
def signatures(published):
    """The signatures of the published SimCNN."""
    return model_folder.read(published.path).signatures


@pytest.fixture(scope="module")
def files(published):
    """Names of the files in the folder of the published SimCNN."""
    return {
        file.relative_to(published.path).as_posix()
        for file in published.path.rglob("*")
        if file.is_file()
    }


def table(card, heading):
    """Return the cells of the first table after a heading, without its header."""
    lines = card.split(f"## {heading}\n", 1)[1].split("## ", 1)[0].splitlines()
    rows = [line for line in lines if line.startswith("|")]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows[2:]]


def test_card_is_made_from_metrics(published, signatures, files):
    """The published card equals `render` of the published metrics."""
    card = model_card.render(published.metrics, signatures, files)

    assert card == (published.path / "MODEL_CARD.md").read_text()
    for picture in ("curves.png", "confusion_matrix.png"):
        assert f"]({picture})" in card


def test_card_states_accuracy_with_n_and_interval(published, signatures, files):
    """The card shows the top-1, interval, n and correct answers of the metrics."""
    metrics = copy.deepcopy(published.metrics)
    metrics["variants"]["fp32"].update(
        top1=0.8123, top1_wilson_95=[0.8045, 0.8198], n=10_000, correct=8_123
    )

    card = model_card.render(metrics, signatures, files)

    row = next(line for line in card.splitlines() if line.startswith("| fp32"))
    assert "**81.23%**" in row
    assert "80.45% to 81.98%" in row
    assert "8,123" in row
    assert "10,000" in row


def test_card_names_another_architecture(published, signatures, files):
    """The card of a model with another stem or enlarged images says so beside its parameters."""
    metrics = copy.deepcopy(published.metrics)
    assert " parameters, trained on" in model_card.render(metrics, signatures, files)
    metrics["training"]["config"] |= {"stem": "cifar", "upsample": 2}

    card = model_card.render(metrics, signatures, files)

    assert " parameters, stem cifar, images x 2, trained on" in card


def test_card_lists_every_variant(published, signatures, files):
    """A second precision is a second row of the result table."""
    metrics = copy.deepcopy(published.metrics)
    metrics["variants"]["w8"] = {**metrics["variants"]["fp32"], "file": "model.w8.onnx"}

    card = model_card.render(metrics, signatures, files)

    assert "| fp32 (`model.onnx`) |" in card
    assert "| w8 (`model.w8.onnx`) |" in card
    assert "- `model.w8.onnx`: ONNX" in card


def test_card_says_what_a_variant_loses(published, signatures, files):
    """The card has each variant's agreement and drop, and the objections to refused variants."""
    metrics = copy.deepcopy(published.metrics)
    compared = {"agreement": 0.988, "drop_points": 0.04, "drop_interval_95": [-0.11, 0.19]}
    metrics["variants"]["w8"] = {**metrics["variants"]["fp32"], **compared}
    metrics["rejected_variants"] = {"int8": {"top1": 0.5905, "objections": ["slow", "wrong"]}}

    card = model_card.render(metrics, signatures, files)

    fp32, w8 = (line for line in card.splitlines() if line.startswith(("| fp32", "| w8")))
    assert fp32.endswith("| - | - |")
    assert w8.endswith("| 98.80 % | 0.04 (-0.11 to 0.19) |")
    assert "- int8 (59.05 %): slow; wrong\n" in card


def test_card_names_the_float32_model_that_was_left_out(published, signatures, files):
    """The card of a version with only w8 has a row for the fp32 model it was compared with."""
    fp32 = published.metrics["variants"]["fp32"]
    w8 = {**fp32, "file": "model.w8.onnx", "agreement": 0.99}
    reference = {"precision": "fp32", **{k: v for k, v in fp32.items() if k != "file"}}
    metrics = {**published.metrics, "variants": {"w8": w8}, "reference": reference}

    card = model_card.render(metrics, signatures, files)

    assert "| w8 (`model.w8.onnx`) | " in card
    (row,) = (line for line in card.splitlines() if line.startswith("| fp32"))
    assert row.startswith(f"| fp32 (not in this folder) | **{fp32['top1']:.2%}** |")


def test_card_says_what_was_added_later(published, signatures, files):
    """The card names the file and commit that a precision added later was made from."""
    metrics = copy.deepcopy(published.metrics)
    origin = {"made_from": "model.w8.onnx", "git_commit": "0123456789abcdef"}
    metrics["variants"]["int8"] = {**metrics["variants"]["fp32"], **origin}

    card = model_card.render(metrics, signatures, files)

    assert "\nint8 was made from `model.w8.onnx` (commit 0123456) and compared with the" in card
    assert "fp32 was made from" not in card


def judged(**changes):
    """Return the section of 5,000 held-out images, on which int8 and w8 were judged."""
    fp32 = {"n": 5_000, "correct": 4_100, "top1": 0.82, "top1_wilson_95": [0.8091, 0.8304]}
    compared = {"agreement": 0.995, "drop_points": 0.1, "drop_interval_95": [-0.05, 0.25]}
    return {
        "images": 5_000,
        "drawn_from": "50,000 training images",
        "validation": "stratified",
        "seed": 3,
        "reference": "fp32",
        "variants": {
            "fp32": fp32,
            "w8": {**fp32, **compared, "objections": []},
            "int8": {**fp32, **compared, "n": 4_500, "objections": ["is wrong", "is slow"]},
        },
        **changes,
    }


def test_card_shows_what_the_held_out_images_decided(published, signatures, files):
    """The card has the images, each variant's figures on them, and the decision."""
    metrics = {**published.metrics, "held_out": judged()}

    card = model_card.render(metrics, signatures, files)

    assert table(card, "Held-out images") == [
        ["fp32", "82.00 % (80.91 to 83.04), n = 5,000", "-", "-", "-"],
        [
            *("w8", "82.00 % (80.91 to 83.04), n = 5,000", "99.50 %", "0.10 (-0.05 to 0.25)"),
            "within the limits",
        ],
        [
            *("int8", "82.00 % (80.91 to 83.04), n = 4,500", "99.50 %", "0.10 (-0.05 to 0.25)"),
            "is wrong; is slow",
        ],
    ]
    assert "5,000 of 50,000 training images were not trained on (validation stratified, " in card
    assert "500 of them calibrated int8" in card
    assert "not in this folder, so the variants are compared" not in card
    assert "## Held-out images" not in model_card.render(published.metrics, signatures, files)


def test_card_says_what_stands_in_for_float32(published, signatures, files):
    """If the variants were compared with w8, the card says so and gives w8 no decision."""
    section = judged(reference="w8")
    del section["variants"]["fp32"], section["variants"]["int8"]
    metrics = {**published.metrics, "held_out": section}

    card = model_card.render(metrics, signatures, files)

    assert table(card, "Held-out images")[0][-1] == "-"
    assert "Class of w8" in card
    assert "compared with w8, which is not judged itself" in card
    assert "calibrated int8" not in card


def test_card_shows_speed_and_robustness(published, signatures, files):
    """The card has Speed and Robustness once they are measured, and the measured loss by JPEG."""
    metrics = {**published.metrics, "benchmark": sample.BENCHMARK, "robustness": sample.ROBUSTNESS}

    before = model_card.render(published.metrics, signatures, files)
    card = model_card.render(metrics, signatures, files)

    assert "## Speed" not in before
    assert "## Robustness" not in before
    assert "was reported to cost 2 to 3 points" in before
    assert table(card, "Speed")[0] == [
        "fp32",
        "1",
        "10,000",
        "0.1 (0.09 to 0.2)",
        "0.11",
        "5.00 (4.00 to 6.00)",
        "1.00",
    ]
    assert table(card, "Robustness")[0] == [
        "JPEG, quality 75",
        "fp32",
        "78.78 % (77.97 to 79.57), n = 10,000",
        "3.46 (2.88 to 4.04)",
        "88.48 %",
    ]
    assert "(quality 75, 4:2:0) costs fp32 3.46 (2.88 to 4.04) points" in card


def test_card_lists_files_that_are_there(published, signatures, files):
    """The card lists no missing SavedModel, and marks a missing graph `not in this folder`."""
    card = model_card.render(published.metrics, signatures, {"curves.png"})

    assert "saved_model.pb" not in card
    assert re.search(r"- `model\.onnx`: ONNX, .* \(not in this folder\)", card)
    assert "confusion_matrix.png" not in card
    assert "(not in this folder)" not in model_card.render(published.metrics, signatures, files)


def test_card_has_the_confusion_matrix(published, signatures, files):
    """The card has all 100 counts, and for each class its accuracy and commonest confusion."""
    metrics = copy.deepcopy(published.metrics)
    matrix = [[10 * row + column for column in range(10)] for row in range(10)]
    metrics["variants"]["fp32"]["confusion_matrix"] = matrix

    card = model_card.render(metrics, signatures, files)

    counts = [[int(cell) for cell in row[1:]] for row in table(card, "Confusion matrix")]
    assert counts == matrix
    by_class = table(card, "Accuracy by class")
    assert by_class[3] == ["cat", f"{33 / 345:.1%}", "33 of 345", "truck (39)"]


def test_card_says_how_it_was_trained(published, signatures, files):
    """The card has the training command and the settings that differ from the recipe."""
    card = model_card.render(published.metrics, signatures, files)

    assert "`python -m training simcnn --recipe report --seed 0`, with epochs 2" in card
    assert "batch_size 20" in card
    assert "validation stratified" in card
    facts = dict(table(card, "Training"))
    assert facts["Epochs"] == "2"
    assert facts["Images"] == "300 to train, 100 to validate"
    assert "cores" in facts["Hardware"]


def test_card_says_that_a_search_chose_the_settings(published, signatures, files):
    """The card has the number of trials, the values, and which images chose them."""
    metrics = copy.deepcopy(published.metrics)
    metrics["training"]["search"] = SearchRecord(
        trials={"complete": 3, "pruned": 2, "diverged": 0, "stopped": 0, "failed": 1},
        trial=4,
        trial_epochs=15,
        validation_accuracy=0.8123,
        parameters={"learning_rate": 0.0021234, "flip": False},
        space={"learning_rate": "0.0003 to 0.03, log", "flip": "false, true"},
        pruner="median",
        minutes=41.2,
        optuna="5.0.0",
    ).as_dict()

    card = model_card.render(metrics, signatures, files)

    assert dict(table(card, "Training"))["Search"] == (
        "Optuna 5.0.0 chose learning_rate 0.00212, flip False in 6 trials of at most 15 epochs (3 "
        "complete, 2 pruned, 1 failed), by the accuracy on the validation images: 81.23 % in trial "
        "4. The test images chose nothing."
    )
    assert "| Search |" not in model_card.render(published.metrics, signatures, files)


def test_card_states_parity_and_limits(published, signatures, files):
    """The card has each pair's deltas, the tolerance, the data's licence and the limits."""
    metrics = copy.deepcopy(published.metrics)
    metrics["data"]["name"] = "CIFAR-10 test images"
    card = model_card.render(metrics, signatures, files)

    rows = table(card, "Parity")
    assert [row[0] for row in rows] == [
        "SavedModel against Keras",
        "ONNX against Keras",
        "ONNX against SavedModel",
    ]
    assert rows[0][1] == "none"
    assert re.fullmatch(r"\d\.\de-0\d", rows[1][1])
    assert rows[1][3] == "80 of 80"
    assert "rtol 0.0001, atol 1e-05" in card
    assert "without a licence" in card
    assert "JPEG" in card


def test_snippet_compiles_and_names_the_model(published, signatures, files):
    """The client code compiles, has at most six lines and names the model and its input."""
    card = model_card.render(published.metrics, signatures, files)

    code = re.search(r"```python\n(.*?)```", card, re.DOTALL)[1]
    compile(code, "snippet", "exec")
    assert len([line for line in code.splitlines() if line]) <= 6
    assert 'client.predict("simcnn", inputs)' in code
    assert "np.zeros((1, 32, 32, 3), np.uint8)" in code


def test_pictures_can_be_sent_if_a_signature_takes_them(published, signatures, files):
    """The card has a command for picture files if a Classify signature takes them, else none."""
    without = {"serving_default": signatures["serving_default"]}

    card = model_card.render(published.metrics, signatures, files)

    assert "/v1/models/simcnn:classify" in card
    assert '"signature_name": "classify"' in card
    assert '"image/encoded"' in card
    assert ":classify" not in model_card.render(published.metrics, without, files)


def test_card_of_a_model_from_elsewhere_claims_nothing(two_signatures):
    """Without accuracy and training sections the card says that they are unknown."""
    metrics = {
        "model": "two",
        "files": [{"file": "model.onnx", "bytes": 1, "sha256": "0" * 64}],
        "parity": {
            "inputs": "random",
            "seed": 0,
            "outputs": [
                {"signature": "sum/up", "rows": 5, "output": "total", "max_abs_delta": 2e-7}
            ],
        },
        "export": {
            "opset": 18,
            "versions": {"onnx": "1"},
            "finished_utc": "2026-01-01T00:00:00+00:00",
            "git_commit": None,
        },
    }

    signatures = saved_model.read_signatures(two_signatures)
    card = model_card.render(metrics, signatures, {"model.onnx", "saved_model.pb"})

    assert "are not known here: ask its author" in card
    assert table(card, "Parity") == [["sum/up", "5 rows", "total", "2.0e-07"]]
    assert '"ids": np.zeros((1, 1), np.int64)' in card
    assert "CIFAR" not in card
    assert "predictions" not in card


def test_card_speaks_of_the_images_it_was_measured_on(published, signatures, files):
    """The card names CIFAR-10 only if the test images are CIFAR-10's."""
    card = model_card.render(published.metrics, signatures, files)
    metrics = copy.deepcopy(published.metrics)
    metrics["data"]["name"] = "CIFAR-10 test images"
    other = model_card.render(metrics, signatures, files)

    assert published.metrics["data"]["name"] == "test images of the folder given"
    assert "CIFAR" not in card
    assert "on the 80 test images of the folder given" in card
    assert "trained on CIFAR-10" in other
    assert "CIFAR-10 (A. Krizhevsky, 2009)" in other


def test_pictures_from_elsewhere_get_no_promise(two_signatures):
    """The card promises RGB for an input `images` only if the model was trained here."""
    signature = saved_model.read_signatures(two_signatures)["sum/up"]
    inputs = {"images": signature.inputs["x"]}
    signatures = {"serving_default": replace(signature, inputs=inputs)}

    card = model_card.render({"model": "elsewhere"}, signatures, {"model.onnx"})

    assert "RGB" not in card
    assert '"images": np.zeros((1, 4), np.float32)' in card
