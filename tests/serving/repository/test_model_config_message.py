import pytest

from serving.errors import InvalidInput
from serving.protos.tfs_config_pb2 import ModelServerConfig
from serving.repository.model_config_message import models_of


def test_a_request_without_a_list_is_refused():
    """The message is TensorFlow Serving's."""
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
def test_a_platform_that_is_none_is_refused(fields, message):
    """The message begins with TensorFlow Serving's."""
    with pytest.raises(InvalidInput) as caught:
        models_of(one(**fields))

    assert caught.value.message.startswith(message)


def test_what_has_no_effect_is_told_once(caplog):
    """Request logging, and the older form of the platform."""
    logging_config = {"sampling_config": {"sampling_rate": 0.1, "attributes": 1}}
    for _ in range(2):
        models_of(one(name="told", model_type=1, logging_config=logging_config))

    assert caplog.text.count("model told: logging_config has no effect here") == 1
    assert caplog.text.count("Deprecated ModelServerConfig::model_type field used.") == 1


def test_a_uri_of_a_local_file_is_a_path():
    """TensorFlow's file systems take both forms."""
    assert str(models_of(one(base_path="file:///models/m"))["m"].base_path) == "/models/m"
