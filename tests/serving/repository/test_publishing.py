import json
from pathlib import Path

import pytest
from sample_models import tiny_models

from serving.errors import DataLoss
from serving.repository import model_folder, publishing


@pytest.fixture
def version(tmp_path: Path) -> Path:
    """A freshly published version of the brightness model."""
    return tiny_models.brightness(tmp_path)


def test_publish_counts_versions_up(tmp_path):
    """Each publication is the next version number; the model folder holds nothing else."""
    first, second = tiny_models.brightness(tmp_path), tiny_models.brightness(tmp_path)

    assert [first.name, second.name] == ["1", "2"]
    assert sorted(path.name for path in first.parent.iterdir()) == ["1", "2"]


def test_a_failed_publication_leaves_nothing(tmp_path):
    """An error while the files are written leaves no version and no temporary folder."""

    def write(path: Path) -> None:
        (path / "model.onnx").write_bytes(b"half")
        msg = "disk full"
        raise OSError(msg)

    with pytest.raises(OSError, match="disk full"):
        publishing.publish(tmp_path / "model", write)
    assert list((tmp_path / "model").iterdir()) == []


def test_other_users_may_read_a_published_version(version):
    """A published version is readable by all users: the server often runs as another user."""
    assert version.stat().st_mode & 0o055 == 0o055


def flip_a_bit(version: Path) -> None:
    file = version / "model.onnx"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def test_documents_are_replaced_and_the_manifest_follows(version):
    """Documents are replaced, the manifest matches them, and no temporary file is left."""
    before = {file.name for file in version.iterdir()}

    publishing.replace_documents(version, {"metrics.json": "{}\n", "MODEL_CARD.md": "# ü\n"})

    model_folder.read(version)
    assert (version / "MODEL_CARD.md").read_text("utf-8") == "# ü\n"
    files = json.loads((version / "manifest.json").read_text())["files"]
    assert list(files) == sorted(files)
    assert files["metrics.json"]["size"] == 3
    assert {file.name for file in version.iterdir()} == before | {"metrics.json", "MODEL_CARD.md"}
    assert (version / "manifest.json").stat().st_mode & 0o044 == 0o044


def test_documents_of_an_altered_version_are_not_replaced(version):
    """Replacing documents of a version with an altered graph is refused.

    A new manifest would declare the altered graph valid.
    """
    manifest = (version / "manifest.json").read_bytes()
    flip_a_bit(version)

    with pytest.raises(DataLoss, match="altered"):
        publishing.replace_documents(version, {"metrics.json": "{}\n"})
    assert (version / "manifest.json").read_bytes() == manifest
    assert not (version / "metrics.json").exists()


def test_an_altered_document_can_be_replaced(version):
    """A document that was edited by hand can be replaced."""
    publishing.replace_documents(version, {"MODEL_CARD.md": "made\n"})
    (version / "MODEL_CARD.md").write_text("edited\n")

    publishing.replace_documents(version, {"MODEL_CARD.md": "made\n"})

    model_folder.read(version)
