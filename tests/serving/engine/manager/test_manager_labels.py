"""Tests of version labels, at the start and in reloads."""

import pytest
from running.managers import fixed, manage, model
from sample_models import tiny_models

from serving.errors import FailedPrecondition, InvalidInput, NotFound
from serving.repository.model_config import All, by_name


def test_labels_name_versions(tmp_path):
    """A label leads to its version; the refusal of an unknown label lists the existing labels."""
    for version in (1, 2):
        tiny_models.identity(tmp_path, version=version)
    config = model("m", tmp_path / "identity", policy=All(), labels={"stable": 1, "canary": 2})

    async def scenario(manager):
        with pytest.raises(InvalidInput) as caught:
            manager.catalog.servable("m", label="beta")
        versions = [
            manager.catalog.servable("m", label=label).version for label in ("stable", "canary")
        ]
        return versions, caught.value.message

    versions, message = manage(scenario, fixed(config))

    assert versions == [1, 2]
    assert message == "Unrecognized servable version label: beta; labels of m: stable, canary"


def test_a_label_on_a_version_that_is_not_there_stops_the_start(tmp_path):
    """A label on a version that does not exist stops the start with FAILED_PRECONDITION.

    Otherwise the first client that uses the label would find out. The message is TensorFlow
    Serving's.
    """
    tiny_models.identity(tmp_path)
    find = fixed(model("m", tmp_path / "identity", labels={"stable": 1, "canary": 2}))

    with pytest.raises(
        FailedPrecondition, match="assign label to version 2 of model m, which is not currently"
    ):
        manage(lambda _: None, find)


def test_a_label_may_wait_for_its_version_if_that_is_allowed(tmp_path):
    """With --allow_version_labels_for_unavailable_models, callers get NOT_FOUND until it loads."""
    tiny_models.identity(tmp_path)
    config = model("m", tmp_path / "identity", policy=All(), labels={"canary": 2})

    async def scenario(manager):
        with pytest.raises(NotFound, match=r"Specific\(m, 2\); versions available: 1"):
            manager.catalog.servable("m", label="canary")
        tiny_models.identity(tmp_path, version=2)
        await manager.update()
        return manager.catalog.servable("m", label="canary").version

    assert manage(scenario, fixed(config), allow_labels_for_unavailable=True) == 2


def test_a_label_in_use_never_moves_to_a_version_that_is_not_there(tmp_path):
    """A reload that moves a label in use to a missing version is refused, also with that flag.

    The flag is for new labels: callers of an existing label must keep getting answers.
    """
    tiny_models.identity(tmp_path)

    def config(**labels):
        return model("m", tmp_path / "identity", labels=labels)

    async def scenario(manager):
        with pytest.raises(FailedPrecondition, match="assign label to version 2 of model m"):
            await manager.reload(by_name([config(stable=2)]))
        await manager.reload(by_name([config(stable=1, canary=2)]))
        return manager.catalog.servable("m", label="stable").version

    find = fixed(config(stable=1))

    assert manage(scenario, find, allow_labels_for_unavailable=True) == 1
