"""Tests of the search for the wanted versions in a model's folder."""

import pytest

from serving.engine.catalog import Catalog
from serving.engine.loading import folders
from serving.engine.managed_model import ManagedModel
from serving.errors import Unavailable
from serving.repository.model_config import ModelConfig
from serving.repository.version_folders import LocalFolders


def test_a_search_in_its_thread_changes_no_answer(tmp_path):
    """Requests are refused as before until the caller takes over what the search found.

    A model whose complaint is gone while its wanted versions are still those of the last search
    would be NOT_FOUND, which clients take for permanent.
    """
    model = ManagedModel(ModelConfig(name="m", base_path=tmp_path))
    catalog = Catalog()
    catalog.models = {"m": model}
    model.wanted, model.complaint = folders.find_wanted(model, LocalFolders())
    assert "No versions of servable m" in model.complaint
    (tmp_path / "1").mkdir()

    assert folders.find_wanted(model, LocalFolders()) == ([1], "")
    with pytest.raises(Unavailable, match="No versions of servable m"):
        catalog.servable("m")
