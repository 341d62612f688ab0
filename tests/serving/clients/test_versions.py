"""Tests of version and version label, which every method of both clients takes."""

import asyncio
import inspect

import numpy as np
import pytest
from running import servers
from sample_models import tiny_models

from serving.client import AsyncPredictClient, PredictClient, PredictError

KINDS = [PredictClient, AsyncPredictClient]
ONES = np.ones((1, 3), np.float32)


@pytest.fixture(scope="module")
def target(tmp_path_factory):
    """Address of a server of `m`: version 1 (`stable`) takes `x`, version 2 `index`."""
    folder = tmp_path_factory.mktemp("versions")
    tiny_models.identity(folder, "m", 1)
    tiny_models.lookup(folder, "m", 2)
    config = folder / "models.config"
    config.write_text(
        f'model_config_list {{ config {{ name: "m" base_path: "{folder / "m"}" '
        "model_version_policy { all {} } "
        'version_labels { key: "stable" value: 1 } } }'
    )
    with servers.in_this_process(None, model_config_file=config) as address:
        yield address


def ask(kind, target: str, method: str, *arguments, **settings):
    """Call one method of a client."""

    async def run():
        client = kind(target)
        try:
            answer = getattr(client, method)(*arguments, **settings)
            return await answer if inspect.isawaitable(answer) else answer
        finally:
            closed = client.close()
            if closed is not None:
                await closed

    return asyncio.run(run())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("named", [{"version": 1}, {"version_label": "stable"}])
def test_a_version_is_named_by_number_or_label(target, kind, named):
    """Predict, signatures and statuses are of version 1, and without either of version 2 or all."""
    answer = ask(kind, target, "predict", "m", {"x": ONES}, **named)
    old = ask(kind, target, "signatures", "m", **named)
    new = ask(kind, target, "signatures", "m")
    states = ask(kind, target, "statuses", "m", **named)
    everything = ask(kind, target, "statuses", "m")

    assert answer["y"].tolist() == [[1, 1, 1]]
    assert list(old.signature_def["serving_default"].inputs) == ["x"]
    assert list(new.signature_def["serving_default"].inputs) == ["index"]
    assert [status.version for status in states] == [1]
    assert [status.version for status in everything] == [2, 1]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("predict", [{"x": ONES}]),
        ("predict_batches", [{"x": ONES}]),
        ("classify", [[b"png"]]),
        ("signatures", []),
        ("statuses", []),
    ],
)
def test_version_and_label_together_are_refused_before_the_call(kind, method, arguments):
    """Every method says the same, without a server."""
    message = "version 1 and version_label 'stable' are both given, expected one of them: a label"
    with pytest.raises(ValueError, match=message):
        ask(kind, "127.0.0.1:1", method, "m", *arguments, version=1, version_label="stable")


@pytest.mark.parametrize("kind", KINDS)
def test_the_status_of_an_unknown_label_is_refused(target, kind):
    """It is not the status of all versions, which servers would answer."""
    with pytest.raises(PredictError, match="Unrecognized servable version label: canary"):
        ask(kind, target, "statuses", "m", version_label="canary")
