"""The model card and the recorded accuracy of a version, from files that may be anything."""

import json
from pathlib import Path

import pytest

from serving.console import version_papers
from serving.repository.model_folder import version_path

MODELS = Path(__file__).parents[3] / "models"


@pytest.fixture
def version(tmp_path) -> Path:
    folder = tmp_path / "model" / "1"
    folder.mkdir(parents=True)
    return folder


def test_the_papers_of_a_bundled_model():
    """Card, classes, accuracy with interval and confusion matrix are those of its files."""
    papers = version_papers.read(MODELS / "simcnn", 1, version_path)
    metrics = json.loads((MODELS / "simcnn" / "1" / "metrics.json").read_text())

    assert papers["card"].startswith("# simcnn\n")
    assert papers["class_names"] == metrics["class_names"]
    assert papers["parameters"] == 122_570
    assert papers["data"] == {"name": "CIFAR-10 test images", "images": 10_000}
    assert set(papers["variants"]) == {"fp32", "w8", "int8"}
    for precision, entry in papers["variants"].items():
        recorded = metrics["variants"][precision]
        assert entry["top1_wilson_95"] == recorded["top1_wilson_95"]
        assert entry["confusion_matrix"] == recorded["confusion_matrix"]
        assert "predictions" not in entry
    assert papers["notes"] == []


def test_a_version_without_papers_has_none(version):
    """Nothing is missing that must be there."""
    papers = version_papers.read(version.parent, 1, version_path)

    assert (papers["card"], papers["variants"], papers["notes"]) == (None, {}, [])


def test_a_version_that_is_gone_is_said(tmp_path):
    """The folder may have been removed since the version was loaded."""
    assert version_papers.read(tmp_path / "model", 1, version_path)["notes"] == [
        "the folder of the version is gone"
    ]


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "3", '{"variants": 3}', '{"data": 3}', "[" * 100_000, '{"schema_version": 99}'],
)
def test_metrics_that_cannot_be_understood_are_said(version, text):
    """The card is shown nevertheless."""
    (version / "metrics.json").write_text(text)
    (version / "MODEL_CARD.md").write_text("card")

    papers = version_papers.read(version.parent, 1, version_path)

    assert papers["card"] == "card"
    assert papers["variants"] == {}
    assert len(papers["notes"]) == 1
    assert papers["notes"][0].startswith("metrics.json cannot be understood")


def test_numbers_that_json_does_not_have_become_null(version):
    """Browsers refuse NaN and Infinity."""
    (version / "metrics.json").write_text('{"variants": {"fp32": {"top1": NaN, "n": Infinity}}}')

    papers = version_papers.read(version.parent, 1, version_path)

    assert papers["variants"]["fp32"] == {"top1": None, "n": None}


def test_large_files_and_folders_are_not_read(version):
    """A file beyond the limit is named with its size."""
    (version / "MODEL_CARD.md").write_bytes(b"x" * (256 * 1024 + 1))
    (version / "metrics.json").mkdir()

    papers = version_papers.read(version.parent, 1, version_path)

    assert papers["card"] is None
    assert "262145 bytes" in papers["notes"][0]
    assert "metrics.json" in papers["notes"][1]


def test_a_changed_file_is_read_again(version):
    """Files are read once for each state of them."""
    card = version / "MODEL_CARD.md"
    card.write_text("one")
    first = version_papers.read(version.parent, 1, version_path)["card"]
    card.write_text("another")

    assert (first, version_papers.read(version.parent, 1, version_path)["card"]) == (
        "one",
        "another",
    )
