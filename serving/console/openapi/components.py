"""The JSON schemas of the description: bodies that the REST APIs take and answer."""

from collections.abc import Mapping
from typing import Any

Schema = Mapping[str, Any]

_TEXT: Schema = {"type": "string"}
_WHOLE: Schema = {"type": "integer"}


def reference(name: str) -> dict[str, Any]:
    """Return a reference to one of `SCHEMAS`."""
    return {"$ref": f"#/components/schemas/{name}"}


def _object(
    required: Mapping[str, Schema], optional: Mapping[str, Schema] | None = None, about: str = ""
) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "object"}
    if about:
        schema["description"] = about
    if required:
        schema["required"] = list(required)
    return schema | {"properties": {**required, **(optional or {})}}


def _list(items: Schema, about: str = "", **limits: int) -> dict[str, Any]:
    schema = {"type": "array", "items": items, **limits}
    return schema | ({"description": about} if about else {})


_SIGNATURE_NAME: Schema = {
    "type": "string",
    "description": "Name of the signature; `serving_default` if it is left out.",
}
_STATE: Schema = {
    "type": "string",
    "enum": ["UNKNOWN", "START", "LOADING", "AVAILABLE", "UNLOADING", "END"],
}
_NAME_OF_INPUT: Schema = {"type": "string", "description": "Name of the input or output."}
_DATATYPE: Schema = {
    "type": "string",
    "description": "BOOL, UINT8, UINT16, UINT32, UINT64, INT8, INT16, INT32, INT64, FP16, FP32, "
    "FP64, BF16 or BYTES.",
}
_PARAMETERS: Schema = {"type": "object"}

TENSORFLOW_SERVING: dict[str, Schema] = {
    "Error": _object({"error": _TEXT}, about="What was received, what was expected, the way out."),
    "TensorValue": {
        "description": 'A number, true or false, a string, `{"b64": "..."}` for bytes, or a '
        "nested list of them whose lengths are the tensor's shape. Infinity and NaN are written "
        "without quotes, as in JavaScript.",
        "type": ["number", "boolean", "string", "array", "object"],
        "items": reference("TensorValue"),
    },
    "PredictRequest": {
        "description": "Rows (`instances`) or columns (`inputs`).",
        "oneOf": [
            _object(
                {
                    "instances": _list(
                        reference("TensorValue"),
                        "One value for each row; with several inputs an object of them by name.",
                        minItems=1,
                    )
                },
                {"signature_name": _SIGNATURE_NAME},
            ),
            _object(
                {
                    "inputs": {
                        "description": "The whole tensor of a single input, or an object of the "
                        "tensors by name.",
                        **reference("TensorValue"),
                    }
                },
                {"signature_name": _SIGNATURE_NAME},
            ),
        ],
    },
    "PredictResponse": {
        "description": "`predictions` for a request with `instances`, `outputs` for one with "
        "`inputs`.",
        "oneOf": [
            _object({"predictions": _list(reference("TensorValue"))}),
            _object({"outputs": reference("TensorValue")}),
        ],
    },
    "Example": {
        "type": "object",
        "description": "A tf.Example: each feature is a value or a flat list of values of one "
        'type. A picture is `{"image/encoded": {"b64": "..."}}`, the bytes of a PNG or JPEG '
        "file.",
        "additionalProperties": reference("TensorValue"),
    },
    "ExamplesRequest": _object(
        {"examples": _list(reference("Example"), minItems=1)},
        {
            "context": {
                "description": "Features that all examples share.",
                **reference("Example"),
            },
            "signature_name": _SIGNATURE_NAME,
        },
    ),
    "ClassifyResponse": _object(
        {
            "results": _list(
                _list(
                    {
                        "type": "array",
                        "description": "Name and score of a class.",
                        "items": {"type": ["string", "number"]},
                        "minItems": 2,
                        "maxItems": 2,
                    }
                ),
                "One list of classes for each example, in the order of the model.",
            )
        }
    ),
    "RegressResponse": _object(
        {"results": _list({"type": "number"}, "One number for each example.")}
    ),
    "VersionStatus": _object(
        {
            "version": _TEXT,
            "state": _STATE,
            "status": _object({"error_code": _TEXT, "error_message": _TEXT}),
        }
    ),
    "StatusResponse": _object({"model_version_status": _list(reference("VersionStatus"))}),
    "ModelsResponse": _object(
        {
            "models": _list(
                _object(
                    {
                        "name": _TEXT,
                        "model_version_status": _list(reference("VersionStatus")),
                        "version_labels": {
                            "type": "object",
                            "description": "The version that each label leads to.",
                            "additionalProperties": _TEXT,
                        },
                    }
                )
            )
        }
    ),
    "TensorInfo": _object(
        {
            "dtype": _TEXT,
            "name": _TEXT,
            "tensor_shape": _object(
                {
                    "dim": _list(
                        _object({"size": {**_TEXT, "description": "-1: any size."}, "name": _TEXT})
                    ),
                    "unknown_rank": {"type": "boolean"},
                }
            ),
        }
    ),
    "SignatureDef": _object(
        {
            name: {"type": "object", "additionalProperties": reference("TensorInfo")}
            for name in ("inputs", "outputs")
        }
        | {"method_name": _TEXT},
        {"defaults": {"type": "object", "description": "Values of inputs that may be left out."}},
    ),
    "MetadataResponse": _object(
        {
            "model_spec": _object({"name": _TEXT, "signature_name": _TEXT, "version": _TEXT}),
            "metadata": _object(
                {
                    "signature_def": _object(
                        {
                            "signature_def": {
                                "type": "object",
                                "additionalProperties": reference("SignatureDef"),
                            }
                        }
                    )
                }
            ),
        }
    ),
}

KSERVE: dict[str, Schema] = {
    "InferTensor": _object(
        {"name": _NAME_OF_INPUT, "shape": _list(_WHOLE), "datatype": _DATATYPE},
        {
            "data": _list({}, "The elements, flat or nested; left out if they follow as bytes."),
            "parameters": _object(
                {},
                {
                    "binary_data_size": {
                        "type": "integer",
                        "description": "Bytes of this tensor after the JSON.",
                    }
                },
            ),
        },
    ),
    "InferRequest": _object(
        {"inputs": _list(reference("InferTensor"))},
        {
            "id": {**_TEXT, "description": "Comes back with the answer."},
            "parameters": _object(
                {},
                {
                    "signature_name": _SIGNATURE_NAME,
                    "binary_data_output": {
                        "type": "boolean",
                        "description": "Whether the outputs follow as bytes after the JSON.",
                    },
                },
            ),
            "outputs": _list(
                _object({"name": _NAME_OF_INPUT}, {"parameters": _PARAMETERS}),
                "The outputs to compute; all of them if it is left out.",
            ),
        },
    ),
    "InferResponse": _object(
        {
            "model_name": _TEXT,
            "model_version": _TEXT,
            "outputs": _list(reference("InferTensor")),
        },
        {"id": _TEXT},
    ),
    "ServerMetadata": _object({"name": _TEXT, "version": _TEXT, "extensions": _list(_TEXT)}),
    "TensorMetadata": _object({"name": _TEXT, "datatype": _DATATYPE, "shape": _list(_WHOLE)}),
    "ModelMetadata": _object(
        {
            "name": _TEXT,
            "versions": _list(_TEXT),
            "platform": _TEXT,
            "inputs": _list(reference("TensorMetadata")),
            "outputs": _list(reference("TensorMetadata")),
        },
        {"parameters": {"type": "object", "additionalProperties": _TEXT}},
    ),
    "ModelReady": _object({"name": _TEXT, "ready": {"type": "boolean"}}),
}

_COUNTED: Schema = _object({"count": _WHOLE, "ns": {"type": "integer", "minimum": 0}})
_STAGES = {
    "compute_input": _COUNTED,
    "compute_infer": _COUNTED,
    "compute_output": _COUNTED,
}
_CONFIGURED_TENSOR = {
    "name": _NAME_OF_INPUT,
    "data_type": {"type": "string", "description": "`TYPE_` and the datatype; `TYPE_STRING`."},
    "dims": _list(_WHOLE, "The shape, without the batch if `max_batch_size` is not 0."),
    "is_shape_tensor": {"type": "boolean"},
}

TRITON: dict[str, Schema] = {
    "ModelConfig": _object(
        {
            "name": _TEXT,
            "platform": _TEXT,
            "backend": _TEXT,
            "version_policy": {"type": "object"},
            "max_batch_size": {"type": "integer", "minimum": 0},
            "input": _list(
                _object(
                    _CONFIGURED_TENSOR
                    | {
                        "format": {"enum": ["FORMAT_NONE", "FORMAT_NHWC", "FORMAT_NCHW"]},
                        "allow_ragged_batch": {"type": "boolean"},
                        "optional": {"type": "boolean"},
                    }
                )
            ),
            "output": _list(_object(_CONFIGURED_TENSOR | {"label_filename": _TEXT})),
            "instance_group": _list(
                _object(
                    {
                        "name": _TEXT,
                        "kind": {"enum": ["KIND_CPU", "KIND_GPU"]},
                        "count": {"type": "integer", "minimum": 1},
                    }
                )
            ),
            "default_model_filename": _TEXT,
            "parameters": {
                "type": "object",
                "additionalProperties": _object({"string_value": _TEXT}),
            },
            "model_transaction_policy": _object({"decoupled": {"type": "boolean"}}),
        },
        {
            "dynamic_batching": _object(
                {"preferred_batch_size": _list(_WHOLE), "max_queue_delay_microseconds": _WHOLE}
            )
        },
    ),
    "ModelStatistics": _object(
        {
            "model_stats": _list(
                _object(
                    {
                        "name": _TEXT,
                        "version": _TEXT,
                        "last_inference": {
                            "type": "integer",
                            "description": "Milliseconds since 1970; 0: no request so far.",
                        },
                        "inference_count": _WHOLE,
                        "execution_count": _WHOLE,
                        "inference_stats": _object(
                            dict.fromkeys(("success", "fail", "queue"), _COUNTED)
                            | _STAGES
                            | {"cache_hit": _COUNTED, "cache_miss": _COUNTED}
                        ),
                        "batch_stats": _list(_object({"batch_size": _WHOLE} | _STAGES)),
                    }
                ),
                "One entry for each version.",
            )
        }
    ),
    "IndexRequest": _object(
        {}, {"ready": {"type": "boolean", "description": "Only versions that can answer."}}
    ),
    "ModelIndex": _list(
        _object(
            {"name": _TEXT},
            {
                "version": _TEXT,
                "state": {"enum": ["READY", "LOADING", "UNLOADING", "UNAVAILABLE"]},
                "reason": _TEXT,
            },
        ),
        "One entry for each version; a model that was never loaded has only its name.",
    ),
    "LoadRequest": _object(
        {},
        {
            "parameters": _object(
                {},
                {
                    "config": {
                        "type": "string",
                        "description": "A ModelConfig as JSON text, with `max_batch_size`, "
                        "`dynamic_batching` and `version_policy` only.",
                    }
                },
            )
        },
    ),
    "UnloadRequest": _object({}, {"parameters": {"type": "object"}}),
    "TraceSettings": _object(
        {
            "trace_file": _TEXT,
            "trace_level": _list({"enum": ["OFF", "TIMESTAMPS"]}),
            "trace_rate": _TEXT,
            "trace_count": _TEXT,
            "log_frequency": _TEXT,
            "trace_mode": _TEXT,
        }
    ),
    "LogSettings": _object(
        {
            "log_file": _TEXT,
            "log_info": {"type": "boolean"},
            "log_warning": {"type": "boolean"},
            "log_error": {"type": "boolean"},
            "log_verbose_level": _WHOLE,
            "log_format": _TEXT,
        }
    ),
    "NoChanges": {"type": "object", "description": "Empty: calls cannot change these settings."},
}

_FAILED_MODELS: Schema = _list(_TEXT, "Models that could not be loaded; the others are served.")

OPERATIONS: dict[str, Schema] = {
    "Live": _object({"live": {"type": "boolean"}}),
    "Ready": _object({"ready": {"type": "boolean"}}, {"failed_models": _FAILED_MODELS}),
    "Alive": _object({"status": {"const": "alive"}}),
    "Readiness": _object(
        {"status": {"enum": ["SERVING", "NOT_SERVING"]}},
        {"failed_models": _FAILED_MODELS, "error": _TEXT},
    ),
}

SCHEMAS: dict[str, Schema] = TENSORFLOW_SERVING | KSERVE | TRITON | OPERATIONS
