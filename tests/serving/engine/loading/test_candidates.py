"""The models that a reload replaces, and the error if a model has no available version."""

import dataclasses
from pathlib import Path

import pytest

from serving.engine.catalog import State, VersionStatus
from serving.engine.loading.candidates import candidate, check_available, replaced
from serving.engine.managed_model import ManagedModel
from serving.errors import StatusCode, UnknownError
from serving.repository.model_config import ModelConfig


def model(name: str = "a", folder: str = "/models/a", **more) -> ManagedModel:
    return ManagedModel(ModelConfig(name=name, base_path=Path(folder)), **more)


def status(version: int, message: str) -> VersionStatus:
    return VersionStatus(
        version=version,
        state=State.END,
        error_code=StatusCode.DATA_LOSS,
        error_message=message,
    )


def test_a_reload_keeps_the_versions_of_a_folder():
    """A candidate copies the versions of a model with the same folder; others have none."""
    now = model(servables={1: "servable"}, statuses={1: status(1, "")})

    kept = candidate(now.config, now)
    moved = candidate(model(folder="/models/b").config, now)
    new = candidate(now.config, None)

    assert (kept.servables, kept.statuses) == (now.servables, now.statuses)
    assert kept.servables is not now.servables
    assert kept.statuses is not now.statuses
    assert (moved.servables, moved.statuses) == ({}, {})
    assert (new.servables, new.statuses) == ({}, {})
    assert moved.config.base_path == Path("/models/b")


def test_other_batching_settings_share_no_versions():
    """A candidate with other batching settings than the served model loads its versions anew."""
    now = model(servables={1: "servable"}, statuses={1: status(1, "")})
    other = dataclasses.replace(now.config, batching={"max_batch_size": 2})

    assert candidate(other, now).servables == {}
    assert candidate(other, ManagedModel(other, servables={1: "a"})).servables == {1: "a"}


def test_a_complete_model_needs_all_its_versions():
    """A model that is to be complete fails with the newest version that is missing."""
    statuses = {number: status(number, f"broken {number}") for number in (1, 2, 3)}
    found = model(servables={3: "servable"}, statuses=statuses, wanted=[1, 2, 3])
    check_available({"a": found})
    found.config = dataclasses.replace(found.config, complete=True)

    with pytest.raises(UnknownError, match="name: a version: 2} due to error: DATA_LOSS: broken 2"):
        check_available({"a": found})

    found.servables.update({1: "servable", 2: "servable"})
    check_available({"a": found})


def test_models_that_are_gone_or_have_another_folder_are_replaced():
    """Models that are gone or have another folder are replaced; those of the same folder stay."""
    before = {"a": model("a"), "b": model("b"), "c": model("c", "/models/c")}
    now = {"a": model("a"), "c": model("c", "/models/other")}

    assert replaced(before, now) == {"b": before["b"], "c": before["c"]}


def test_every_model_without_a_version_is_named_with_its_newest_error():
    """The error names each model without a version, in TensorFlow Serving's words."""
    failed = model("a", statuses={2: status(2, "newest"), 1: status(1, "oldest")})
    empty = model("b", complaint="no versions in /models/a")
    served = model("c", servables={1: "servable"})

    with pytest.raises(UnknownError) as raised:
        check_available({"a": failed, "b": empty, "c": served})

    assert str(raised.value).startswith(
        "2 model(s) did not become available: {"
        "{{name: a version: 2} due to error: DATA_LOSS: newest}, "
        "{{name: b} due to error: no versions in /models/a}, }"
    )
    check_available({"c": served})
