"""The configuration of a served version, as Triton describes it (model_config.proto).

It describes what the server does with the version; no file holds it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from serving.engine.devices.provider import CUDA
from serving.engine.servable import Servable
from serving.protocols.kserve import tensor_bytes
from serving.repository.model_config import All, Latest, ModelConfig, VersionPolicy
from serving.tensors.signature import DEFAULT_SIGNATURE_NAME, Signature, TensorSpec

_BACKENDS = {"onnxruntime_onnx": "onnxruntime"}  # by platform; others have one name for both
_IMAGE_DIMS, _CHANNELS = 3, (1, 3)


def describe(servable: Servable, config: ModelConfig) -> dict[str, Any]:
    """Return the configuration in the JSON form of the message ModelConfig.

    `max_batch_size` is 0 if requests to `serving_default` do not share runs; `dims` are then the
    whole shapes, and otherwise the shapes without the batch.

    Args:
        servable: The version; it has a signature `serving_default`.
        config: Settings of the model.

    Raises:
        Unsupported: a tensor has a type that the protocol has no name for.
    """
    signature = servable.signatures[DEFAULT_SIGNATURE_NAME]
    batched = servable.batched[DEFAULT_SIGNATURE_NAME]
    batching = servable.batching
    document: dict[str, Any] = {
        "name": servable.name,
        "platform": servable.platform,
        "backend": _BACKENDS.get(servable.platform, servable.platform),
        "version_policy": _policy(config.policy),
        "max_batch_size": batching.max_batch_size if batched else 0,
        "input": [
            _input(alias, spec, signature, batched=batched)
            for alias, spec in signature.inputs.items()
        ],
        "output": [
            _tensor(alias, spec, batched=batched) | {"label_filename": ""}
            for alias, spec in signature.outputs.items()
        ],
        "instance_group": [
            {
                "name": f"{servable.name}_0",
                "kind": "KIND_GPU" if servable.provider == CUDA else "KIND_CPU",
                "count": servable.instances,
            }
        ],
        "default_model_filename": signature.file,
        "parameters": {
            "execution_provider": {"string_value": servable.provider},
            "precision": {"string_value": servable.precision},
        },
        "model_transaction_policy": {"decoupled": False},
    }
    if batched:
        document["dynamic_batching"] = {
            "preferred_batch_size": list(batching.allowed_batch_sizes),
            "max_queue_delay_microseconds": batching.batch_timeout_micros,
        }
    return document


def _tensor(alias: str, spec: TensorSpec, *, batched: bool) -> dict[str, Any]:
    datatype = tensor_bytes.datatype_of(spec.dtype)
    return {
        "name": alias,
        "data_type": "TYPE_STRING" if datatype == "BYTES" else f"TYPE_{datatype}",
        "dims": _dims(spec, batched=batched),
        "is_shape_tensor": False,
    }


def _input(alias: str, spec: TensorSpec, signature: Signature, *, batched: bool) -> dict[str, Any]:
    return _tensor(alias, spec, batched=batched) | {
        "format": _format(_dims(spec, batched=batched)),
        "allow_ragged_batch": False,
        "optional": alias in signature.defaults,
    }


def _dims(spec: TensorSpec, *, batched: bool) -> list[int]:
    """Return the shape, without the batch if there is one; empty for an unknown rank."""
    shape = list(spec.shape or ())
    return shape[1:] if batched else shape


def _format(dims: Sequence[int]) -> str:
    """Return which of three sizes is the number of channels of an image, in Triton's words."""
    if len(dims) == _IMAGE_DIMS:
        first, last = dims[0] in _CHANNELS, dims[-1] in _CHANNELS
        if first != last:
            return "FORMAT_NCHW" if first else "FORMAT_NHWC"
    return "FORMAT_NONE"


def _policy(policy: VersionPolicy) -> Mapping[str, Any]:
    if isinstance(policy, Latest):
        return {"latest": {"num_versions": policy.num_versions}}
    if isinstance(policy, All):
        return {"all": {}}
    return {"specific": {"versions": list(policy.versions)}}
