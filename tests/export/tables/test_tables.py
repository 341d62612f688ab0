from pathlib import Path

import pytest
from sample_results import sample_metrics as sample

from export.__main__ import main
from export.errors import ExportError, OutOfDate
from export.tables import tables
from serving.repository import model_folder

ROOT = Path(__file__).parents[3]


def rows(markdown: str, header: str) -> list[dict[str, str]]:
    """Return the rows of the table whose header starts with `header`, as cells by column."""
    lines = markdown.splitlines()
    begin = next(i for i, line in enumerate(lines) if line.startswith(header))
    columns, *cells = (
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in lines[begin:]
        if line.startswith("|")
    )
    table = []
    for row in cells[1:]:
        if len(row) != len(columns) or row[0].startswith("---"):
            break
        table.append(dict(zip(columns, row, strict=True)))
    return table


def two_models(places: tables.Places, **changes: object) -> None:
    """Write versions of SimCNN in fp32 and w8, and of ResNet50 in w8 only."""
    small = sample.variant("w8", 8_220, 130_000, agreement=0.9991)
    large = sample.variant("w8", 9_310, 26_000_000, agreement=0.998)
    results = sample.BENCHMARK["results"]
    fast = {"batches": {"1": sample.cell(1, 20_000), "32": sample.cell(32, 30_000)}}
    slow = {"batches": {"1": sample.cell(1, 200), "32": sample.cell(32, 600)}}
    simcnn = sample.metrics(
        "simcnn",
        variants={**sample.metrics("simcnn")["variants"], "w8": small},
        benchmark=sample.BENCHMARK | {"results": results | {"w8": fast}},
        robustness=sample.ROBUSTNESS,
    )
    resnet50 = sample.metrics(
        "resnet50",
        parameters=25_696_138,
        variants={"w8": large},
        benchmark=sample.BENCHMARK | {"results": {"w8": slow}} | changes,
    )
    sample.version(places.models_dir, simcnn)
    sample.version(places.models_dir, resnet50)


def test_a_row_for_each_variant(places):
    """Every cell comes from metrics.json; a figure that was not measured is `-`."""
    two_models(places)

    resnet50, simcnn, small = rows(tables.models_section(places), "| model | parameters")

    assert simcnn == {
        "model": "[`simcnn`](models/simcnn/1/MODEL_CARD.md)",
        "parameters": "122,570",
        "variant": "fp32",
        "size": "0.49 MB",
        "top-1 (95 % interval)": "82.24 % (81.44 to 83.04), n = 10,000",
        "same class as fp32": "-",
        "images/s, batch 1": "10,000 (5.00 x TensorFlow)",
        "images/s, batch 32": "20,000 (5.00 x TensorFlow)",
        "top-1 after JPEG 75": "78.78 % (77.97 to 79.57)",
    }
    assert small["same class as fp32"] == "99.91 %"
    assert small["top-1 after JPEG 75"] == "-"
    assert resnet50["size"] == "26.00 MB"


def test_training_and_conditions_are_told(places):
    """The section has each training's facts, and the hardware and commit of the speeds."""
    two_models(places)

    section = tables.models_section(places)

    resnet50, simcnn = rows(section, "| model | recipe")
    assert simcnn == {
        "model": "`simcnn`",
        "recipe": "best",
        "seed": "3",
        "epochs": "60",
        "time": "2 h 5 min",
        "trained on": "Some CPU, 2 cores",
        "top-1 in float32": "82.24 %",
        "published reference": "71.61 %",
    }
    assert resnet50["top-1 in float32"] == "-"  # no figure of its only file, which is w8
    assert resnet50["published reference"] == "79.29 %"
    assert "Speed of `simcnn`: Some CPU, 2 cores, 1 thread; onnxruntime 1.32.0" in section
    assert "commit 0123456-dirty; medians of 5 rounds" in section
    assert "`x TensorFlow`: times as fast" in section
    assert "JPEG 75: the test images recompressed" in section


def test_a_training_has_its_float32_accuracy_without_the_float32_file(places):
    """A version with w8 alone has the training's accuracy, which is not that of the w8 file."""
    content = sample.metrics(
        "resnet50",
        variants={"w8": sample.variant("w8", 8_469, 26_000_000)},
        reference={"precision": "fp32", "top1": 0.8471},
    )
    sample.version(places.models_dir, content)

    section = tables.models_section(places)

    (row,) = rows(section, "| model | recipe")
    assert row["top-1 in float32"] == "84.71 %"
    assert "Top-1 in float32: the accuracy of the trained weights on all test images" in section


def test_nothing_measured_is_dashes(places):
    """A version without figures has a row of dashes."""
    bare = {"model": "simcnn", "class_names": ["dark", "bright"]}
    path = sample.version(places.models_dir, bare | {"variants": {"fp32": {"file": "model.onnx"}}})

    tables.write(places)
    section = places.readme.read_text()

    (row,) = rows(section, "| model | parameters")
    assert row.pop("model").startswith("[`simcnn`]")
    assert row.pop("variant") == "fp32"
    assert set(row.values()) == {"-"}
    (training,) = rows(section, "| model | recipe")
    assert list(training.values()) == ["`simcnn`", *["-"] * 7]
    assert "Which one?" not in section
    assert "| fp32 (`model.onnx`) | - | - | - | - | - |" in (path / "MODEL_CARD.md").read_text()


def test_the_latest_version_of_each_model_is_shown(places):
    """The table has the latest version of each classifier; all versions keep their cards."""
    sample.version(places.models_dir, sample.metrics("simcnn"))
    sample.version(places.models_dir, sample.metrics("simcnn", parameters=7))
    elsewhere = {
        name: value
        for name, value in sample.metrics("elsewhere").items()
        if name in {"model", "export"}
    }
    parity = {"seed": 0, "outputs": []}
    sample.version(places.models_dir, elsewhere | {"parity": parity, "files": []})

    written = tables.write(places)

    (row,) = rows(places.readme.read_text(), "| model | parameters")
    assert row["parameters"] == "7"
    assert "models/simcnn/2/MODEL_CARD.md" in row["model"]
    cards = [file for file in written if file.name == "MODEL_CARD.md"]
    assert len(cards) == 3
    for card in cards:
        model_folder.read(card.parent)


def test_accuracies_are_ranked_by_the_held_out_images(places):
    """Of a version's variants the one that loses the fewest points on held-out images is named.

    int8 has fewer held-out images; its share of them, 80 %, is not compared with the others'.
    """
    entries = {
        "fp32": {"n": 5_000, "top1": 0.82},
        "w8": {"n": 5_000, "top1": 0.81, "drop_points": 1.0},
        "int8": {"n": 4_500, "top1": 0.80, "drop_points": -0.1},
    }
    variants = {
        "fp32": sample.variant("fp32", 8_224, 493_941),
        "w8": sample.variant("w8", 9_990, 130_000),
        "int8": sample.variant("int8", 8_100, 140_000),
    }
    held_out = {
        "images": 5_000,
        "drawn_from": "50,000 training images",
        "validation": "stratified",
        "seed": 0,
        "reference": "fp32",
        "variants": {
            name: {"top1_wilson_95": [0.79, 0.83], "objections": [], **entry}
            for name, entry in entries.items()
        },
    }
    sample.version(
        places.models_dir, sample.metrics("simcnn", variants=variants, held_out=held_out)
    )

    tables.write(places)

    text = "- **Highest accuracy on held-out images:** `simcnn` int8, 81.00 % of the test images.\n"
    assert text in places.readme.read_text()


def test_an_empty_models_folder_is_said(places):
    """With an empty models folder the README says "No trained model in"."""
    tables.write(places)

    assert "No trained model in" in places.readme.read_text()


def test_a_models_folder_that_is_missing_is_named(places, capsys):
    """A missing models folder is one line on stderr that names the flag."""
    code = main(["tables", "--check", "--models-dir", str(places.models_dir / "none")])

    assert code == 2
    assert capsys.readouterr().err.endswith("as --models-dir\n")


def test_what_was_written_is_up_to_date(places):
    """Written files pass `check`, a second `write` changes nothing, other text is kept."""
    two_models(places)

    first = tables.write(places)
    tables.check(places)

    names = {file.name for file in first}
    assert names == {"README.md", "training.md", "MODEL_CARD.md"}
    assert tables.write(places) == []
    assert places.readme.read_text().startswith("before\n\n<!-- ")
    assert places.readme.read_text().endswith(f"{tables.END}\n\nafter\n")


@pytest.mark.parametrize("file", ["README.md", "docs/training.md", "models/simcnn/1/MODEL_CARD.md"])
def test_an_edit_by_hand_is_found_and_undone(places, file):
    """`check` names an edited file and `make docs`; `write` restores the file."""
    two_models(places)
    tables.write(places)
    edited = places.readme.parent / file
    text = edited.read_text()
    edited.write_text(text.replace("82.24", "92.24").replace("No results", "Many results"))

    with pytest.raises(OutOfDate, match=f"{file} out of date.* run `make docs`"):
        tables.check(places)

    assert tables.write(places) == [edited]
    assert edited.read_text() == text
    tables.check(places)
    for path in (places.models_dir / "simcnn" / "1", places.models_dir / "resnet50" / "1"):
        model_folder.read(path)


def test_figures_that_were_altered_are_not_shown(places):
    """A metrics.json that contradicts the manifest is refused."""
    two_models(places)
    metrics_file = places.models_dir / "simcnn" / "1" / "metrics.json"
    metrics_file.write_text(metrics_file.read_text().replace("0.8224", "0.9224"))

    with pytest.raises(ExportError, match=r"metrics\.json has SHA-256 .* altered"):
        tables.write(places)


def test_markers_must_be_there(places):
    """A README without the markers is refused."""
    places.readme.write_text("nothing\n")

    with pytest.raises(ExportError, match="lacks the lines"):
        tables.check(places)
