import pytest

from serving.errors import InvalidInput
from serving.protos.tfs_config_pb2 import ModelServerConfig
from serving.repository.model_config_message import models_of


def test_a_request_without_a_list_is_refused():
    """A request without a model list is refused with TensorFlow Serving's message."""
    with pytest.raises(InvalidInput, match="ServerModelConfig type not supported by HandleReload"):
        models_of(ModelServerConfig())


def one(**fields) -> ModelServerConfig:
    model = {"name": "m", "base_path": "/m"} | fields
    return ModelServerConfig(model_config_list={"config": [model]})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"model_type": 1, "model_platform": "tensorflow"},
            (
                "Illegal setting both ModelServerConfig::model_type (deprecated) and "
                "ModelServerConfig::model_platform, model name is m"
            ),
        ),
        ({"model_type": 2}, "ModelServerConfig::model_type choice 2 not supported."),
        ({"model_platform": "caffe"}, "Model m requests unsupported platform caffe"),
    ],
)
def test_an_unknown_platform_is_refused(fields, message):
    """An unknown platform or model type is refused; the message starts as TensorFlow Serving's."""
    with pytest.raises(InvalidInput) as caught:
        models_of(one(**fields))

    assert caught.value.message.startswith(message)


def test_fields_without_effect_are_logged_once(caplog):
    """logging_config and the deprecated model_type are each logged once as without effect."""
    logging_config = {"sampling_config": {"sampling_rate": 0.1, "attributes": 1}}
    for _ in range(2):
        models_of(one(name="told", model_type=1, logging_config=logging_config))

    assert caplog.text.count("model told: logging_config has no effect here") == 1
    assert caplog.text.count("Deprecated ModelServerConfig::model_type field used.") == 1


def test_a_uri_of_a_local_file_is_a_path():
    """base_path file:///models/m is the path /models/m, as in TensorFlow."""
    assert str(models_of(one(base_path="file:///models/m"))["m"].base_path) == "/models/m"
