from pathlib import Path

import pytest

from serving.engine.catalog import Catalog, ModelEntry, State, VersionStatus
from serving.errors import InvalidInput, NotFound, StatusCode, Unavailable
from serving.repository.model_config import ModelConfig


def entry(*states: tuple[State, StatusCode], available: bool = False) -> ModelEntry:
    model = ModelEntry(config=None)
    for version, (state, code) in enumerate(states, start=1):
        model.set_status(VersionStatus(version=version, state=state, error_code=code))
    if available:
        model.servables[1] = object()
    return model


def test_a_model_has_failed_if_no_version_answers_and_one_has_an_error():
    """Models that load, were unloaded, or answer with an older version have not failed."""
    catalog = Catalog()
    ok, lost = StatusCode.OK, StatusCode.DATA_LOSS
    catalog.models = {
        "worse": entry((State.END, ok), (State.END, lost)),
        "bad": entry((State.END, lost)),
        "answers": entry((State.AVAILABLE, ok), (State.END, lost), available=True),
        "unloaded": entry((State.END, ok)),
        "loading": entry((State.LOADING, ok)),
        "empty": entry(),
    }

    assert catalog.failed == ["bad", "worse"]


NOT_AVAILABLE = "Servable is not available for request: "
NOT_FOUND = "Servable not found for request: "


def refusal(catalog: Catalog, version: int | None, name: str = "m") -> str:
    """Return the refusal's message; check that the error type matches the message."""
    with pytest.raises((NotFound, Unavailable)) as caught:
        catalog.servable(name, version)
    expected = NotFound if caught.value.message.startswith(NOT_FOUND) else Unavailable
    assert type(caught.value) is expected
    return caught.value.message


def test_a_model_that_nobody_configured_is_not_found():
    """The message is TensorFlow Serving's, followed by the names of the configured models."""
    catalog = Catalog()
    catalog.models = {"other": entry()}

    assert refusal(catalog, None) == f"{NOT_FOUND}Latest(m); models here: other"
    assert refusal(catalog, 1) == f"{NOT_FOUND}Specific(m, 1); models here: other"


@pytest.mark.parametrize("version", [None, 1])
@pytest.mark.parametrize(
    ("wanted", "status", "reason"),
    [
        (None, None, "its folder has not been looked at yet, retry shortly"),
        ([], None, "No versions of servable m found under base path /m"),
        ([1], None, "version 1 is START, retry shortly"),
        ([1], (State.LOADING, ""), "version 1 is LOADING, retry shortly"),
        ([1], (State.END, "model.onnx is missing"), "version 1 is END: model.onnx is missing"),
        ([1], (State.UNLOADING, ""), "version 1 is UNLOADING"),
    ],
)
def test_a_configured_model_without_a_version_to_answer_is_unavailable(
    wanted, status, reason, version
):
    """A configured model that cannot answer is UNAVAILABLE; the message says why.

    Clients treat NOT_FOUND as permanent, so no reason may lead to it.
    """
    model = ModelEntry(config=None, wanted=wanted)
    if wanted == []:
        model.complaint = reason
    if status is not None:
        state, message = status
        model.set_status(VersionStatus(version=1, state=state, error_message=message))
    catalog = Catalog()
    catalog.models = {"m": model}

    request = "Latest(m)" if version is None else "Specific(m, 1)"
    assert refusal(catalog, version) == f"{NOT_AVAILABLE}{request}; {reason}"


def test_a_version_that_is_not_wanted_is_not_found():
    """A version that is not wanted is NOT_FOUND; a wanted version that failed is UNAVAILABLE.

    A version is not wanted if it never existed, was unloaded, or the version policy leaves it out.
    """
    model = entry((State.END, StatusCode.OK), (State.AVAILABLE, StatusCode.OK))
    model.servables[2] = object()
    model.set_status(
        VersionStatus(
            version=3, state=State.END, error_code=StatusCode.DATA_LOSS, error_message="altered"
        )
    )
    model.wanted = [2, 3]
    catalog = Catalog()
    catalog.models = {"m": model}

    assert refusal(catalog, 1) == f"{NOT_FOUND}Specific(m, 1); versions available: 2"
    assert refusal(catalog, 7) == f"{NOT_FOUND}Specific(m, 7); versions available: 2"
    assert refusal(catalog, 3) == (
        f"{NOT_AVAILABLE}Specific(m, 3); version 3 is END: altered; versions available: 2"
    )


def test_versions_of_a_reload_are_unavailable_until_they_are_served():
    """Versions that a reload is loading are UNAVAILABLE, and the statuses list them.

    This holds for a new model and for a new version of a served model.
    """
    served, larger = entry((State.AVAILABLE, StatusCode.OK)), entry()
    served.servables[1] = object()
    served.wanted, larger.wanted = [1], [1, 2]
    larger.set_status(VersionStatus(version=1, state=State.START))  # under another base path
    larger.set_status(VersionStatus(version=2, state=State.LOADING))
    new = entry((State.AVAILABLE, StatusCode.OK))
    new.servables[1], new.wanted = object(), [1]
    catalog = Catalog()
    catalog.models, catalog.coming = {"m": served}, {"m": larger, "new": new}

    assert catalog.servable("m") is served.servables[1]
    assert refusal(catalog, 2) == (
        f"{NOT_AVAILABLE}Specific(m, 2); version 2 is LOADING, retry shortly; versions available: 1"
    )
    assert refusal(catalog, None, "new") == (
        f"{NOT_AVAILABLE}Latest(new); version 1 is loaded and served when the reload ends, "
        "retry shortly"
    )
    assert [(each.version, each.state) for each in catalog.statuses("m")] == [
        (2, State.LOADING),
        (1, State.AVAILABLE),
    ]
    assert [each.version for each in catalog.statuses("new")] == [1]


def test_version_0_is_the_latest_unless_there_is_one():
    """Version 0 means the latest version, as OpenVINO Model Server's clients use it.

    If the model has a version 0, the number means that version.
    """
    model = entry((State.AVAILABLE, StatusCode.OK), (State.AVAILABLE, StatusCode.OK))
    model.servables.update({1: "first", 2: "second"})
    model.wanted = [1, 2]
    catalog = Catalog()
    catalog.models = {"m": model}

    assert catalog.servable("m", 0) == "second"
    assert [status.version for status in catalog.statuses("m", 0)] == [2, 1]

    model.wanted = [0, 1, 2]
    assert refusal(catalog, 0) == (
        f"{NOT_AVAILABLE}Specific(m, 0); version 0 is START, retry shortly; "
        "versions available: 1, 2"
    )
    model.servables[0] = "zero"
    assert catalog.servable("m", 0) == "zero"


def test_the_versions_of_former_models_stay_listed_for_a_while():
    """Versions of 100 former models stay listed as END; models that left earlier are forgotten.

    They are listed after a newer model of the same name, too.
    """
    catalog = Catalog()
    ok = StatusCode.OK
    gone = {f"m{number}": entry((State.END, ok), (State.END, ok)) for number in range(101)}
    catalog.retire(gone)
    catalog.models = {"m100": entry((State.AVAILABLE, ok), available=True)}

    assert [status.state for status in catalog.statuses("m100")] == [State.END, State.AVAILABLE]
    assert [status.version for status in catalog.statuses("m1", 2)] == [2]
    with pytest.raises(NotFound, match="Could not find any versions of model m0"):
        catalog.statuses("m0")


def test_a_label_that_nobody_gave_is_refused():
    """The message names the model's labels, if there is such a model and it has any."""
    catalog = Catalog()
    config = ModelConfig(name="a", base_path=Path("/models/a"), labels={"stable": 1, "canary": 2})
    catalog.models = {"a": ModelEntry(config)}
    messages = []
    for name in ("a", "nope"):
        with pytest.raises(InvalidInput) as raised:
            catalog.servable(name, label="new")
        messages.append(raised.value.message)

    assert messages == [
        "Unrecognized servable version label: new; labels of a: stable, canary",
        "Unrecognized servable version label: new",
    ]
