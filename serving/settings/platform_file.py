"""TensorFlow Serving's `platform_config_file`: batching, sessions and warm-up of its platform."""

from dataclasses import dataclass
from pathlib import Path

from google.protobuf.descriptor import FieldDescriptor

from serving.protos.session_config_pb2 import ConfigProto
from serving.protos.tfs_config_pb2 import (
    BatchingParameters,
    PlatformConfigMap,
    SavedModelBundleSourceAdapterConfig,
    SessionBundleConfig,
)
from serving.settings import text_protos
from serving.settings.text_protos import TextProto

_PLATFORM = "tensorflow"
_KNOWN = text_protos.field_names(
    PlatformConfigMap.DESCRIPTOR.full_name,
    SavedModelBundleSourceAdapterConfig.DESCRIPTOR.full_name,
)
# Fields of SessionBundleConfig that this server uses, or whose effect it always has.
_HEEDED = frozenset(
    {
        "session_config",
        "batching_parameters",
        "enable_model_warmup",
        "model_warmup_options",
        "enable_per_model_batching_params",
        "remove_unused_fields_from_bundle_metagraph",
    }
)


@dataclass(frozen=True)
class Platform:
    """The settings of the TensorFlow platform in a file.

    Attributes:
        batching: The batching parameters; None if the file has none.
        session: The session's settings: threads and GPU memory.
        warm_up_iterations: How often warm-up answers each recorded request; 0: no warm-up.
        per_model_batching: Whether versions may have their own batching parameters.
    """

    batching: TextProto[BatchingParameters] | None
    session: ConfigProto
    warm_up_iterations: int
    per_model_batching: bool


def read(path: Path) -> Platform:
    """Read a file; log a warning for each field that has no effect here.

    Raises:
        ConfigError: the file cannot be read or parsed, has no entry for the TensorFlow platform, or
            asks for TensorFlow Lite.
    """
    file = text_protos.read(path, PlatformConfigMap, known=_KNOWN)
    platforms = file.message.platform_configs
    for name in platforms:
        if name != _PLATFORM:
            file.warn(f"platform {name!r} has no effect here: all models use {_PLATFORM!r}", name)
    if _PLATFORM not in platforms:
        reason = f"PlatformConfigMap has no entry for platform {_PLATFORM}; expected that key"
        raise file.error(reason, "platform_configs")
    given = platforms[_PLATFORM].source_adapter_config
    adapter = SavedModelBundleSourceAdapterConfig()
    expected = adapter.DESCRIPTOR.full_name
    if given.type_url.rpartition("/")[2] != expected:
        reason = f"source_adapter_config is {given.type_url!r}, expected a {expected}"
        raise file.error(reason, "source_adapter_config")
    adapter.ParseFromString(given.value)
    session: SessionBundleConfig = adapter.legacy_config
    if session.prefer_tflite_model:
        name = "prefer_tflite_model"
        reason = f"{name} is true, but TensorFlow Lite files cannot be served; convert them to ONNX"
        raise file.error(reason, name)
    for field, value in session.ListFields():
        if field.name not in _HEEDED and not _asks_for_nothing(field, value):
            reason = (
                "set --saved_model_tags instead"
                if field.name == "saved_model_tags"
                else "this server configures sessions by session_config and its own flags"
            )
            file.warn(f"{field.name} has no effect here: {reason}", field.name)
    options = session.model_warmup_options
    iterations = max(1, options.num_request_iterations.value)
    has_batching = session.HasField("batching_parameters")
    return Platform(
        batching=TextProto(path, file.text, session.batching_parameters) if has_batching else None,
        session=session.session_config,
        warm_up_iterations=iterations if session.enable_model_warmup else 0,
        per_model_batching=session.enable_per_model_batching_params,
    )


def _asks_for_nothing(field: FieldDescriptor, value: object) -> bool:
    """Return whether a field has this server's default: a graph with the tag `serve`."""
    return field.name == "saved_model_tags" and list(value) == ["serve"]  # type: ignore[call-overload]
