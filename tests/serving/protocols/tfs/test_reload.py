"""Tests of HandleReloadConfigRequest and `model_config_file` on a running server."""

import threading
import time

import grpc
import numpy as np
import pytest
from sample_models import tiny_models

from serving.client import PredictClient, PredictError
from serving.engine.servable import Servable
from serving.protos.tensorflow_serving_pb2 import (
    GetModelStatusRequest,
    GetModelStatusResponse,
    ModelVersionStatus,
    ReloadConfigRequest,
    ReloadConfigResponse,
)

STATUS = "/tensorflow.serving.ModelService/GetModelStatus"
RELOAD = "/tensorflow.serving.ModelService/HandleReloadConfigRequest"
ONES = np.ones((1, 3), np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with models `one` and `two`, the latter in versions 1 and 2."""
    folder = tmp_path_factory.mktemp("models")
    tiny_models.identity(folder, "one")
    for version in (1, 2):
        tiny_models.identity(folder, "two", version)
    return folder


@pytest.fixture
def target(folder, front, running_server):
    """Address of a server with model `one`."""
    with running_server(
        None, model_name="one", model_base_path=folder / "one", front=front
    ) as address:
        yield address


@pytest.fixture
def reload(target):
    """A function that sends a list of models, each given as the fields of a ModelConfig."""
    with grpc.insecure_channel(target) as channel:

        def send(*models: dict) -> ReloadConfigResponse:
            request = ReloadConfigRequest()
            request.config.model_config_list.SetInParent()
            for fields in models:
                request.config.model_config_list.config.add(**fields)
            body = channel.unary_unary(RELOAD)(request.SerializeToString(), timeout=30)
            return ReloadConfigResponse.FromString(body)

        yield send


def served(client: PredictClient, name: str, **options) -> bool:
    try:
        client.predict(name, {"x": ONES}, **options)
    except PredictError:
        return False
    return True


def model(folder, name: str, **fields) -> dict:
    return {"name": name, "base_path": str(folder / name), **fields}


def test_the_whole_set_is_replaced(client, reload, folder):
    """When the reload is answered, unlisted models are gone and listed ones answer."""
    response = reload(
        model(
            folder,
            "two",
            model_version_policy={"all": {}},
            version_labels={"stable": 1, "canary": 2},
        )
    )

    assert response.HasField("status")
    assert (response.status.error_code, response.status.error_message) == (0, "")
    assert not served(client, "one")
    assert served(client, "two", version_label="stable")
    assert served(client, "two", version_label="canary")
    assert client.is_serving("two")


def test_an_empty_list_unloads_everything(client, reload):
    """An empty list unloads all models; the server goes on."""
    reload()

    assert not served(client, "one")
    assert client.is_serving()


def test_the_versions_of_a_model_that_is_gone_stay_listed(target, reload, folder):
    """GetModelStatus lists the versions of a removed model as END until it is served again."""
    request = GetModelStatusRequest()
    request.model_spec.name = "one"
    with grpc.insecure_channel(target) as channel:

        def state() -> tuple[int, ...]:
            body = channel.unary_unary(STATUS)(request.SerializeToString(), timeout=10)
            versions = GetModelStatusResponse.FromString(body).model_version_status
            return tuple(version.state for version in versions)

        reload(model(folder, "two"))
        ended = wait_until(lambda: state() == (ModelVersionStatus.END,))
        reload(model(folder, "one"))
        back = state()

    assert ended
    assert back == (ModelVersionStatus.AVAILABLE,)


@pytest.mark.parametrize(
    ("models", "refusal"),
    [
        (
            [{"name": "a", "base_path": "/a"}, {"name": "a", "base_path": "/a"}],
            ("INVALID_ARGUMENT", "Illegal to list model a multiple times in config list"),
        ),
        (
            [{"name": "a", "base_path": "a"}],
            (
                "INVALID_ARGUMENT",
                "Expected model a to have an absolute path or URI; got base_path()=a",
            ),
        ),
        (
            [{"name": "two", "base_path": "{folder}/two"}, {"name": "a", "base_path": "/nowhere"}],
            ("UNKNOWN", "1 model(s) did not become available: {{{name: a} due to error: "),
        ),
        (
            [{"name": "two", "base_path": "{folder}/two", "version_labels": {"stable": 7}}],
            (
                "FAILED_PRECONDITION",
                "Request to assign label to version 7 of model two, which is not currently",
            ),
        ),
    ],
)
def test_a_refused_list_changes_nothing(client, reload, folder, models, refusal):
    """A refused list changes no model; code and message are TensorFlow Serving's."""
    models = [
        fields | {"base_path": fields["base_path"].format(folder=folder)} for fields in models
    ]

    with pytest.raises(grpc.RpcError) as caught:
        reload(*models)

    code, message = refusal
    assert caught.value.code().name == code
    assert caught.value.details().startswith(message)
    assert served(client, "one")
    assert not served(client, "two")


@pytest.fixture
def slow_load(monkeypatch):
    """Make loading `two` wait; yield the events "loading began" and "go on"."""
    begun, go_on, load = threading.Event(), threading.Event(), Servable.load

    def wait(name, *arguments, **settings):
        if name == "two":
            begun.set()
            go_on.wait(20)
        return load(name, *arguments, **settings)

    monkeypatch.setattr(Servable, "load", wait)
    yield begun, go_on
    go_on.set()


def test_a_reload_goes_on_though_its_caller_is_gone(slow_load, folder, front, running_server):
    """A reload whose caller cancelled is finished, and another reload may follow."""
    begun, go_on = slow_load
    request = ReloadConfigRequest()
    request.config.model_config_list.config.add(**model(folder, "two"))
    with (
        running_server(
            None, model_name="one", model_base_path=folder / "one", front=front
        ) as address,
        grpc.insecure_channel(address) as channel,
        PredictClient(address) as client,
    ):
        call = channel.unary_unary(RELOAD)
        impatient = call.future(request.SerializeToString(), timeout=20)
        assert begun.wait(20)
        impatient.cancel()
        time.sleep(0.2)  # the server notices the cancellation
        meanwhile = [served(client, name) for name in ("one", "two")]
        go_on.set()
        taken_over = wait_until(lambda: served(client, "two"))
        afterwards = served(client, "one")
        call(request.SerializeToString(), timeout=20)

    assert meanwhile == [True, False]
    assert taken_over
    assert not afterwards


def test_only_lists_of_models_are_taken(target):
    """A reload without a model list is refused with TensorFlow Serving's message."""
    with grpc.insecure_channel(target) as channel, pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary(RELOAD)(b"", timeout=10)

    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.details().endswith("Only ModelConfigList is currently supported")


def config_text(folder, *names: str) -> str:
    models = (f'config {{ name: "{name}" base_path: "{folder / name}" }}' for name in names)
    return f"model_config_list {{ {' '.join(models)} }}"


def wait_until(condition) -> bool:
    give_up_at = time.monotonic() + 30
    while time.monotonic() < give_up_at:
        if condition():
            return True
        time.sleep(0.02)
    return False


def test_a_model_config_file_is_followed(folder, tmp_path, running_server):
    """A changed model_config_file is loaded; a malformed one leaves the models unchanged."""
    path = tmp_path / "models.config"
    path.write_text(config_text(folder, "one"))
    with (
        running_server(
            None, model_config_file=path, model_config_file_poll_wait_seconds=0.05
        ) as address,
        PredictClient(address) as client,
    ):
        at_first = [served(client, name) for name in ("one", "two")]
        path.write_text("model_config_list {")
        time.sleep(0.3)
        while_broken = served(client, "one")
        path.write_text(config_text(folder, "two"))
        changed = wait_until(lambda: served(client, "two"))
        gone = wait_until(lambda: not served(client, "one"))

    assert at_first == [True, False]
    assert while_broken
    assert changed
    assert gone
