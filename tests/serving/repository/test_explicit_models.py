"""The models that a server starts with by name, and the versions that a load keeps."""

from pathlib import Path

import pytest
from sample_models import tiny_models

from serving.errors import ConfigError, NotFound
from serving.repository.explicit_models import at_start, changed, pinned
from serving.repository.model_config import (
    All,
    Latest,
    ModelConfig,
    Specific,
    find_models,
    from_json,
    to_json,
)
from serving.repository.version_folders import LocalFolders


@pytest.fixture
def folder(tmp_path) -> Path:
    for version in (1, 3):
        tiny_models.identity(tmp_path, version=version)
    tiny_models.add(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("names", "found"),
    [("", []), (" , ", []), ("identity", ["identity"]), ("*", ["add", "identity"])],
)
def test_names_choose_the_models_of_the_start(folder, names, found):
    """Names separated by commas are loaded at the start, each with its newest version."""
    chosen = at_start(lambda: find_models(folder), names, LocalFolders())

    assert list(chosen) == found
    assert all(config.complete for config in chosen.values())
    if "identity" in chosen:
        assert chosen["identity"].policy == Specific((3,))


def test_unknown_names_are_listed(folder):
    """The error has the unknown names and those that there are."""
    with pytest.raises(ConfigError, match=r"names nope, x, expected names out of add, identity$"):
        at_start(lambda: find_models(folder), "nope,add,x", LocalFolders())


def test_a_folder_that_cannot_be_listed_is_an_error_only_with_names(tmp_path):
    """Without names the folder is not looked at."""
    missing = tmp_path / "missing"

    assert at_start(lambda: find_models(missing), "", LocalFolders()) == {}
    with pytest.raises(ConfigError, match="the models cannot be listed: models_dir"):
        at_start(lambda: find_models(missing), "*", LocalFolders())


@pytest.mark.parametrize(
    ("policy", "versions"),
    [(None, (3,)), (All(), (1, 3)), (Latest(2), (1, 3)), (Specific((1,)), (1,))],
)
def test_a_load_keeps_the_versions_of_now(folder, policy, versions):
    """The policy selects from the versions on disk, and later ones do not count."""
    config = ModelConfig(name="identity", base_path=folder / "identity")
    kept = pinned(config, LocalFolders(), policy, {"max_batch_size": 4})

    assert kept.policy == Specific(versions)
    assert (kept.complete, kept.batching) == (True, {"max_batch_size": 4})
    assert from_json(to_json({"identity": kept})) == {"identity": kept}


def test_a_model_without_a_version_cannot_be_kept(folder):
    """The error names a folder that would be a version, and the versions that there are."""
    config = ModelConfig(name="identity", base_path=folder / "identity")

    with pytest.raises(NotFound, match=r"no version of identity to load.+; there are 1, 3$"):
        pinned(config, LocalFolders(), Specific((2,)))


def test_changes_add_replace_and_remove():
    """A change has models to add or to replace, and None for those to take out."""
    a, b = (ModelConfig(name=name, base_path=Path("/m") / name) for name in "ab")
    other = ModelConfig(name="a", base_path=Path("/other"))

    assert changed({"a": a}, {"b": b}) == {"a": a, "b": b}
    assert changed({"a": a, "b": b}, {"a": other, "b": None}) == {"a": other}
    assert changed({}, {"a": None}) == {}
