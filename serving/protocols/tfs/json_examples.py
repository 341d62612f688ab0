"""Decode and encode the bodies of Classify and Regress in TensorFlow Serving's REST API.

A request is `{"context": example, "examples": [example, ...]}`, a response is
`{"results": [result, ...]}`. An example is an object of features, each a value or a flat list of
values; the context holds features that all examples share. The result of Classify is a list of
`[label, score]`, the result of Regress a number.

Rules and messages follow util/json_tensor.cc. The JSON types of a feature's values decide its kind:
integers (`1`, `true`) make an int64 list, numbers with a fraction or exponent (`1.0`) a float list,
strings and `{"b64": "..."}` a bytes list, and an empty list is a missing feature. TensorFlow
Serving considers nothing else, so it refuses `[1, 2.5]`, which is how JavaScript writes two floats.
This server reads integers as floats if the signature's feature spec says that the feature is float.
"""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NoReturn

import numpy as np
import orjson

from serving.errors import InvalidInput
from serving.protocols.tfs import json_predict, json_tensor
from serving.protocols.tfs.json_tensor import is_object
from serving.protocols.tfs.json_text import pretty
from serving.protocols.tfs.json_text.quote import Json, printable, quote, text, type_name
from serving.protos.tensorflow_example_pb2 import Example, Feature
from serving.tensors.example_parser import with_context
from serving.tensors.feature_spec import FeatureSpec
from serving.tensors.tensor_spec import DataType

CONTEXT_KEY, EXAMPLES_KEY, RESULTS_KEY = "context", "examples", "results"

_INT64 = np.iinfo(np.int64)
# The kind of a feature whose values have a JSON type.
_KINDS = {int: "int64", bool: "int64", float: "float", str: "bytes", dict: "bytes"}
_KINDS_OF_FLOATS = _KINDS | {int: "float"}


def read(
    body: bytes,
    features: Mapping[str, Mapping[str, FeatureSpec]],
    default: str,
    method: str,
    *,
    may_be_slow: bool = True,
) -> tuple[str, list[bytes]]:
    """Read a request: the name of its signature, and its examples.

    Args:
        body: The request's body.
        features: The feature spec of each signature of the model, by signature name.
        default: Name of the signature to use if the request names none.
        method: `classify` or `regress`, for error messages.
        may_be_slow: See `json_text.document.load`.

    Returns:
        The signature name in the request, empty if the request names none; serialized tf.Examples.

    Raises:
        InvalidInput: see `json_predict.parse`, `json_predict.signature_name` and `decode_examples`.
        SlowError: see `json_text.document.load`.
    """
    # If an example repeats a feature, the last value counts, as in TensorFlow Serving.
    document = json_predict.parse(body, key=EXAMPLES_KEY, may_be_slow=may_be_slow, last_inside=True)
    name = json_predict.signature_name(document)
    # An unknown signature has no feature spec here; `ClassifyRegress` refuses it later.
    return name, decode_examples(document, features.get(name or default, {}), method)


def decode_examples(
    document: Mapping[str, Json], features: Mapping[str, FeatureSpec], method: str
) -> list[bytes]:
    """Decode the examples of a request, and add the context's features to each of them.

    Args:
        document: The request's JSON object.
        features: The signature's feature spec; decides which features are float.
        method: `classify` or `regress`, for error messages.

    Returns:
        Serialized tf.Examples, at least one.

    Raises:
        InvalidInput: the request has no list of examples or an empty one, or a feature mixes types
            or has a value that a tf.Example cannot hold; the message names example and feature.
    """
    floats = {spec.key for spec in features.values() if spec.tensor.dtype is DataType.DT_FLOAT}
    context = b""
    if CONTEXT_KEY in document:
        context = _example(document[CONTEXT_KEY], floats, f"the '{CONTEXT_KEY}'")
    if EXAMPLES_KEY not in document:
        msg = (
            f"{quote(document)} When method is {method}, key '{EXAMPLES_KEY}' is expected and was "
            "not found"
        )
        raise InvalidInput(msg)
    values = document[EXAMPLES_KEY]
    if not isinstance(values, list):
        msg = f"{quote(document)} Expecting '{EXAMPLES_KEY}' value to be an list/array"
        raise InvalidInput(msg)
    if not values:
        msg = (
            f"{quote(document)} '{EXAMPLES_KEY}' value is an empty array; expected at least one "
            "example"
        )
        raise InvalidInput(msg)
    examples = [
        _example(value, floats, f"example {position} of '{EXAMPLES_KEY}'")
        for position, value in enumerate(values)
    ]
    return with_context(examples, context) if context else examples


def encode_classes(
    labels: Iterable[Sequence[str]], scores: Sequence[Sequence[float]], *, tfs_format: bool = False
) -> bytes:
    """Encode a Classify response as JSON.

    Scores have the fewest digits that read back as the same float32.

    Args:
        labels: Class names, one row per example.
        scores: float32 values, in rows of the same lengths.
        tfs_format: Whether to use TensorFlow Serving's layout and digits; see `json_text.pretty`.
    """
    if tfs_format:
        return pretty.classes(labels, scores)
    array, finite = _floats(scores)
    rows = json_tensor.to_json("", array, finite=finite)
    return _encode(
        [list(zip(*row, strict=True)) for row in zip(labels, rows, strict=True)], finite=finite
    )


def encode_values(values: Sequence[float], *, tfs_format: bool = False) -> bytes:
    """Encode a Regress response as JSON: float32 values, written like scores."""
    if tfs_format:
        return pretty.values(values)
    array, finite = _floats(values)
    return _encode(json_tensor.to_json("", array, finite=finite), finite=finite)


# Decoding


def _example(value: Json, floats: Collection[str], where: str) -> bytes:
    """Convert a JSON object to a serialized tf.Example.

    Args:
        value: The object.
        floats: Names of the features that are float.
        where: The example's place in the request, for error messages.

    Raises:
        InvalidInput: `value` is not an object, or see `_fill`.
    """
    if not isinstance(value, dict):
        msg = (
            f"Example must be JSON object but got JSON {type_name(value)}; {where} is "
            f'{text(value)}, expected {{"feature": value or list, ...}}'
        )
        raise InvalidInput(msg)
    example = Example()
    for key, content in value.items():
        # Protocol buffers accept only UTF-8 as a feature's name.
        name = printable(key)
        values = content if type(content) is list else [content]
        _fill(example.features.feature[name], values, name, where, is_float=name in floats)
    return example.SerializeToString()


def _fill(
    feature: Feature, values: Sequence[Json], name: str, where: str, *, is_float: bool
) -> None:
    """Put values into a feature; an empty list leaves the feature without a kind.

    Raises:
        InvalidInput: the values are of several kinds, or a value does not fit its kind.
    """
    if not values:
        return
    kind_of = _KINDS_OF_FLOATS if is_float else _KINDS
    types = set(map(type, values))
    kinds = {kind_of.get(json_type) for json_type in types}
    if len(kinds) > 1 or None in kinds or (dict in types and any(map(_is_named, values))):
        _refuse(values, name, where, kind_of)
    (kind,) = kinds
    if kind == "float":
        feature.float_list.value.extend(_to_floats(values))
    elif kind == "int64":
        beyond = [value for value in values if not _INT64.min <= value <= _INT64.max]
        if beyond:
            msg = (
                f"Feature: {name} has uint64_t element. Only int64_t is supported. Received "
                f"{beyond[0]} in {where}, expected {_INT64.min} to {_INT64.max}"
            )
            raise InvalidInput(msg)
        feature.int64_list.value.extend(map(int, values))  # true becomes 1
    else:
        feature.bytes_list.value.extend(_to_bytes(value, name, where) for value in values)


def _to_floats(values: Sequence[float]) -> list[float]:
    """Round numbers to float32, as Predict does."""
    array = json_tensor.convert(values, DataType.DT_FLOAT)
    floats: list[float] = [] if array is None else array.tolist()
    return floats


def _to_bytes(value: Json, name: str, where: str) -> bytes:
    if type(value) is not dict:
        # The reader keeps a byte that is not UTF-8 as a lone surrogate; this restores the byte.
        return str(value).encode(errors="surrogateescape")
    content = json_tensor.binary(value)
    if content is None:
        msg = f"Unable to base64 decode; feature {name} of {where} has {text(value)}"
        raise InvalidInput(msg)
    return content


def _is_named(value: Json) -> bool:
    """Whether a value is an object, but not a `{"b64": "..."}` binary string."""
    return type(value) is dict and is_object(value)


def _refuse(values: Sequence[Json], name: str, where: str, kind_of: Mapping[type, str]) -> NoReturn:
    """Raise InvalidInput for the first value that has no kind, or another kind than value 0."""

    def find_kind(value: Json) -> str | None:
        return None if _is_named(value) else kind_of.get(type(value))

    first = find_kind(values[0])
    position, value, kind = next(
        (position, value, kind)
        for position, (value, kind) in enumerate(zip(values, map(find_kind, values), strict=True))
        if kind is None or kind != first
    )
    received = f"{where} has {text(value)} at position {position}"
    if kind is None:
        msg = (
            f"Feature: {name} has element with unexpected JSON type: {type_name(value)}; "
            f'{received}, expected a number, a string or {{"b64": "..."}}, or a flat list of them'
        )
    else:
        msg = (
            f"Unexpected element type in feature: {name} expecting type: {first}; {received}, "
            f"which is {kind}; write all values of a feature in one type, floats with a decimal "
            "point"
        )
    raise InvalidInput(msg)


# Encoding


def _floats(values: Sequence[float] | Sequence[Sequence[float]]) -> tuple[np.ndarray, bool]:
    """Return the values as a float32 array, and whether all of them are finite."""
    array = np.array(values, np.float32)
    return array, bool(np.isfinite(array).all())


def _encode(results: Json, *, finite: bool) -> bytes:
    document = {RESULTS_KEY: results}
    if finite:
        return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
    return json.dumps(document, separators=(",", ":")).encode()
