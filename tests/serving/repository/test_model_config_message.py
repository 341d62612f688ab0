import pytest

from serving.errors import InvalidInput
from serving.protos.tfs_config_pb2 import ModelServerConfig
from serving.repository.model_config_message import models_of


def test_a_request_without_a_list_is_refused():
    """The message is TensorFlow Serving's."""
    with pytest.raises(InvalidInput, match="ServerModelConfig type not supported by HandleReload"):
        models_of(ModelServerConfig())
