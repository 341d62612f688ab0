"""Models to serve, from TensorFlow Serving's ModelServerConfig message."""

from collections.abc import Iterator
from pathlib import Path

from serving.errors import InvalidInput
from serving.protos import tfs_config_pb2
from serving.protos.tfs_config_pb2 import ModelServerConfig
from serving.repository.model_config import (
    All,
    Latest,
    ModelConfig,
    Specific,
    VersionPolicy,
    by_name,
)

# What a model was trained in makes no difference here: all of them are served from ONNX files.
_PLATFORMS = ("", "tensorflow", "onnx")


def models_of(config: ModelServerConfig) -> dict[str, ModelConfig]:
    """The models of a message, by name.

    Raises:
        InvalidInput: the message holds something else than a list of models, or one of them is
            listed twice, has no name, no absolute path, an unknown platform or no version to serve.
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
    """One model of a list.

    Raises:
        InvalidInput: it has an unknown platform, or no version to serve.
    """
    if model.model_platform not in _PLATFORMS or model.model_type == tfs_config_pb2.OTHER:
        platform = model.model_platform or "OTHER"
        msg = (
            f"model {model.name} has model_platform {platform!r}, expected 'tensorflow', 'onnx' "
            "or none: whatever the model was trained in, an ONNX file of it is served"
        )
        raise InvalidInput(msg)
    return ModelConfig(
        name=model.name,
        base_path=Path(model.base_path),
        policy=_policy(model),
        labels=dict(model.version_labels),
    )


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
