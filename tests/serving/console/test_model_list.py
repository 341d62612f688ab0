"""The list of models: what the page says about versions, labels, states and signatures."""

import asyncio
from pathlib import Path

import pytest
from calling.rest_client import Http
from running import servers
from sample_models import tiny_models

from serving.console import model_list
from serving.engine.catalog import Catalog, ModelEntry, State, VersionStatus
from serving.errors import StatusCode
from serving.repository.model_config import ModelConfig
from serving.repository.model_folder import version_path

BUNDLED = Path(__file__).parents[3] / "models"


@pytest.fixture(scope="module")
def bundled() -> dict:
    """The list of a server of the bundled models."""
    with servers.in_this_process(BUNDLED) as address:
        return Http(address).get("/console/models")[1]


def test_a_loaded_version_says_how_it_runs(bundled):
    """Precision, provider, size of the graph, memory, signatures and the verdict on batching."""
    models = {model["name"]: model for model in bundled["models"]}
    (version,) = models["simcnn"]["versions"]
    loaded = version["loaded"]

    assert (version["version"], version["state"], version["reason"]) == (1, "AVAILABLE", "")
    assert loaded["precision"] == "int8"
    assert loaded["provider"] == "CPUExecutionProvider"
    assert loaded["graphs"] == {
        "model.int8.onnx": (BUNDLED / "simcnn" / "1" / "model.int8.onnx").stat().st_size
    }
    assert loaded["load_bytes"] >= 0
    assert loaded["warm_up_seconds"] > 0
    assert len(loaded["class_names"]) == 10
    usual, classify = (loaded["signatures"][name] for name in ("serving_default", "classify"))
    assert usual["inputs"] == [
        {"name": "images", "dtype": "DT_UINT8", "shape": [-1, 32, 32, 3], "optional": False}
    ]
    assert (usual["batched"], usual["independent"], usual["proved_rows"]) == (True, True, 256)
    assert "45 made-up batches" in usual["evidence"]
    assert classify["features"][0]["key"] == "image"
    assert classify["features"][0]["kind"] == "image"
    assert models["resnet50"]["versions"][0]["loaded"]["load_bytes"] > 1e6


def test_a_version_that_cannot_be_loaded_has_its_reason(tmp_path):
    """Beside the one that answers; labels lead to versions."""
    tiny_models.identity(tmp_path)
    broken = tmp_path / "identity" / "2"
    broken.mkdir()
    (broken / "model.onnx").write_text("no graph")
    config = tmp_path / "models.config"
    config.write_text(
        f"""model_config_list {{ config {{
          name: "identity" base_path: "{tmp_path / "identity"}" model_platform: "tensorflow"
          model_version_policy {{ all {{}} }} version_labels {{ key: "stable" value: 1 }} }} }}"""
    )
    with servers.in_this_process(None, model_config_file=config) as address:
        (model,) = Http(address).get("/console/models")[1]["models"]

    assert model["labels"] == {"stable": 1}
    assert [(each["version"], each["state"]) for each in model["versions"]] == [
        (2, "END"),
        (1, "AVAILABLE"),
    ]
    assert model["versions"][0]["loaded"] is None
    assert model["versions"][0]["code"] == "DATA_LOSS"
    assert "model.onnx" in model["versions"][0]["reason"]


def test_the_state_changes_with_what_the_list_shows():
    """The page asks for the list again when this text changes, and only then."""
    catalog = Catalog()
    entry = ModelEntry(ModelConfig(name="m", base_path=Path("/m")))
    catalog.models = {"m": entry}
    seen = [model_list.state(catalog)]
    entry.set_status(VersionStatus(version=1, state=State.LOADING))
    seen.append(model_list.state(catalog))
    entry.set_status(VersionStatus(version=1, state=State.AVAILABLE))
    seen.append(model_list.state(catalog))
    error = {"error_code": StatusCode.DATA_LOSS, "error_message": "\udcff broken"}
    entry.set_status(VersionStatus(version=1, state=State.END, **error))
    seen.append(model_list.state(catalog))
    entry.complaint = "nothing here"
    seen.append(model_list.state(catalog))

    assert len(set(seen)) == len(seen)
    assert model_list.state(catalog) == seen[-1]


def test_a_graph_that_is_gone_has_no_size(tmp_path):
    """The version goes on answering; only its size is unknown."""
    tiny_models.identity(tmp_path)
    settings = {"file_system_poll_wait_seconds": 0}
    with servers.model_server(tmp_path, **settings) as server:
        catalog = server.manager.catalog
        files = model_list.graph_files(catalog)
        known = model_list.sizes_of(files, version_path)
        files[0].model.joinpath("1", "model.onnx").unlink()
        document = model_list.document(catalog, {}, model_list.sizes_of(files, version_path))

    assert [file.name for file in files] == ["model.onnx"]
    assert all(size > 0 for size in known.values())
    assert document["models"][0]["versions"][0]["loaded"]["graphs"] == {}


def test_only_the_callers_models_are_left():
    """The order stays."""
    document = {"models": [{"name": "a"}, {"name": "b"}]}

    assert model_list.visible(document, None) == document
    assert model_list.visible(document, frozenset("b"))["models"] == [{"name": "b"}]


def test_a_server_without_models_has_an_empty_list():
    """Nothing is looked up."""
    document = model_list.document(Catalog(), {"workers": 1}, {})

    assert document["models"] == []
    assert document["server"]["name"] == "onnx-serving"
    assert asyncio.run(asyncio.to_thread(model_list.sizes_of, [], version_path)) == {}
