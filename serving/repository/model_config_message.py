"""Reads the models to serve from TensorFlow Serving's ModelServerConfig message."""

import logging
from collections.abc import Iterator
from functools import cache

from serving.errors import InvalidInput
from serving.protos import tfs_config_pb2
from serving.protos.tfs_config_pb2 import ModelServerConfig
from serving.repository.model_config import (
    All,
    Latest,
    ModelConfig,
    Specific,
    VersionPolicy,
    base_path_of,
    by_name,
)

logger = logging.getLogger(__name__)

# Accepted platforms. They have no effect: the files in a version folder (ONNX or SavedModel) decide
# which runtime runs the version.
_PLATFORMS = ("", "tensorflow", "onnx")


def models_of(config: ModelServerConfig) -> dict[str, ModelConfig]:
    """Return the models of a message by name.

    Raises:
        InvalidInput: the message does not hold a model list; or a model is listed twice, or has no
            name, no absolute path, an unknown platform or a version policy without versions.
    """
    return by_name(_models(config))


def _models(config: ModelServerConfig) -> Iterator[ModelConfig]:
    if config.WhichOneof("config") != "model_config_list":
        msg = (
            "ServerModelConfig type not supported by HandleReloadConfigRequest. Only "
            "ModelConfigList is currently supported"
        )
        raise InvalidInput(msg)
    for model in config.model_config_list.config:
        yield model_of(model)


def model_of(model: tfs_config_pb2.ModelConfig) -> ModelConfig:
    """Return the settings of one model of a list.

    Raises:
        InvalidInput: the model has an unknown platform, a version policy without versions, or a
            base path of an unknown scheme.
    """
    _check_platform(model)
    if model.HasField("logging_config"):
        _warn_once(
            f"model {model.name}: logging_config has no effect here: requests are not logged"
        )
    try:
        base_path = base_path_of(model.base_path)
    except InvalidInput as error:
        msg = f"model {model.name} has base_path {model.base_path!r}: {error.message}"
        raise InvalidInput(msg) from None
    return ModelConfig(
        name=model.name,
        base_path=base_path,
        policy=_policy(model),
        labels=dict(model.version_labels),
    )


def _check_platform(model: tfs_config_pb2.ModelConfig) -> None:
    """Check platform and model type as TensorFlow Serving does, but accept models without either.

    Raises:
        InvalidInput: the platform or the older model type is unknown, or both are given.
    """
    if model.model_type != tfs_config_pb2.MODEL_TYPE_UNSPECIFIED:
        if model.model_platform:
            msg = (
                "Illegal setting both ModelServerConfig::model_type (deprecated) and "
                f"ModelServerConfig::model_platform, model name is {model.name}; leave model_type "
                "out"
            )
            raise InvalidInput(msg)
        if model.model_type != tfs_config_pb2.TENSORFLOW:
            msg = (
                f"ModelServerConfig::model_type choice {model.model_type} not supported.; expected "
                f'model_platform: "tensorflow" for model {model.name}'
            )
            raise InvalidInput(msg)
        _warn_once(
            f"model {model.name}: Deprecated ModelServerConfig::model_type field used. Prefer "
            "ModelServerConfig::model_platform."
        )
    if model.model_platform not in _PLATFORMS:
        msg = (
            f"Model {model.name} requests unsupported platform {model.model_platform}; expected "
            "'tensorflow', 'onnx' or none; ONNX files and SavedModels are served, whatever the "
            "model was trained in"
        )
        raise InvalidInput(msg)


@cache
def _warn_once(message: str) -> None:
    """Log a message only once, because a model list may be read many times."""
    logger.warning(message)


def _policy(model: tfs_config_pb2.ModelConfig) -> VersionPolicy:
    policy = model.model_version_policy
    choice = policy.WhichOneof("policy_choice")
    if choice == "all":
        return All()
    if choice == "specific":
        if not policy.specific.versions:
            msg = (
                f"model {model.name} has a specific version policy without versions; "
                "write specific { versions: 1 }"
            )
            raise InvalidInput(msg)
        return Specific(tuple(policy.specific.versions))
    return Latest(policy.latest.num_versions or 1)
