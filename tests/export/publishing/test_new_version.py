import pytest

from export.errors import ExportError
from export.papers import model_card
from export.publishing.from_run import publish_run
from export.publishing.from_saved_model import publish_saved_model
from serving.repository import model_folder


@pytest.mark.parametrize("name", ["", "a/b", "..", ".hidden", "two words"])
def test_names_that_are_no_folder_names_are_refused(two_signatures, tmp_path, name):
    """A model name that is no plain folder name is refused."""
    with pytest.raises(ExportError, match=r"model name .* received, expected letters"):
        publish_saved_model(two_signatures, tmp_path / "models", name=name)

    assert not (tmp_path / "models").exists()


def test_failure_while_writing_leaves_older_versions_alone(
    run_dir, image_dir, tmp_path, monkeypatch
):
    """If the disk fills up at the last file, version 1 stays and no part of version 2 is left."""
    publish_run(run_dir, tmp_path, data_dir=image_dir)

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(model_card, "render", fail)

    with pytest.raises(ExportError, match=r"No space left on device.*free some space"):
        publish_run(run_dir, tmp_path, data_dir=image_dir)

    assert [entry.name for entry in (tmp_path / "simcnn").iterdir()] == ["1"]
    model_folder.verify_manifest(tmp_path / "simcnn" / "1")
