from serving.engine.catalog import Catalog, ModelEntry, State, VersionStatus
from serving.errors import StatusCode


def entry(*states: tuple[State, StatusCode], available: bool = False) -> ModelEntry:
    model = ModelEntry(config=None)
    for version, (state, code) in enumerate(states, start=1):
        model.set_status(VersionStatus(version=version, state=state, error_code=code))
    if available:
        model.servables[1] = object()
    return model


def test_a_model_has_failed_if_no_version_answers_and_one_has_an_error():
    """One that loads, was unloaded, or answers with an older version has not."""
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
