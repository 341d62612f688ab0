"""The bodies of Predict in TensorFlow Serving's REST API.

Row form, `{"instances": [row, ...]}` to `{"predictions": [row, ...]}`: a row is the value of the
only tensor, or an object with the value of each. Columnar form, `{"inputs": value}` to
`{"outputs": value}`: the whole tensor, or an object of whole tensors. Binary strings are written
`{"b64": "..."}`. Rules and messages follow util/json_tensor.cc.
"""

import json
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import orjson

from serving.errors import InvalidInput
from serving.protocols import json_reader
from serving.protocols.tfs import json_tensor
from serving.protocols.tfs.json_tensor import Json, is_object, quote, text
from serving.tensors.signature import TensorSpec

SIGNATURE_KEY = "signature_name"
ROWS_KEY, COLUMNS_KEY = "instances", "inputs"


class PredictInputs(NamedTuple):
    """What a Predict request asks for.

    Attributes:
        signature_name: As the request has it; empty if it names none.
        arrays: By input alias; None if there is no such signature.
        rows: Whether the request has the row form, which the answer shares.
    """

    signature_name: str
    arrays: dict[str, np.ndarray] | None
    rows: bool


def read_predict(
    body: bytes, signatures: Mapping[str, Mapping[str, TensorSpec]], default: str
) -> PredictInputs:
    """The whole of a Predict request.

    Args:
        body: The request's body.
        signatures: The inputs of each signature of the model.
        default: The signature that is meant if the request names none.

    Raises:
        InvalidInput, Unsupported: see `parse`, `signature_name` and `decode_inputs`.
    """
    document = parse(body)
    name = signature_name(document)
    specs = signatures.get(name or default)
    if specs is None:
        return PredictInputs(name, None, rows=False)
    return PredictInputs(name, *decode_inputs(document, specs))


def parse(body: bytes, *, key: str = ROWS_KEY) -> dict[str, Json]:
    """A request's JSON object; `NaN`, `Infinity` and `-Infinity` count as numbers.

    Args:
        body: The request's body.
        key: A key that the object should have, for the message.

    Raises:
        InvalidInput: the body is no JSON, with the offset of the mistake, or no object.
    """
    if not body:
        msg = "JSON Parse error: The document is empty"
        raise InvalidInput(msg)
    try:
        document = json_reader.loads(body)
    except json.JSONDecodeError as error:  # orjson's error is one of these, too
        msg = f"JSON Parse error: {error.msg} at offset: {error.pos}"
        raise InvalidInput(msg) from None
    except (ValueError, RecursionError) as error:
        msg = f"JSON Parse error: {error}"
        raise InvalidInput(msg) from None
    if not isinstance(document, dict):
        msg = f'{quote(document)} Is not object; expected {{"{key}": [...]}}'
        raise InvalidInput(msg)
    return document


def signature_name(document: Mapping[str, Json]) -> str:
    """The signature that a request names; empty if it names none.

    Raises:
        InvalidInput: it is not a string.
    """
    name = document.get(SIGNATURE_KEY, "")
    if not isinstance(name, str):
        msg = (
            f"{quote(name)} not formatted correctly. '{SIGNATURE_KEY}' key must be a string value."
        )
        raise InvalidInput(msg)
    return name


def decode_inputs(
    document: Mapping[str, Json], specs: Mapping[str, TensorSpec]
) -> tuple[dict[str, np.ndarray], bool]:
    """The input tensors of a Predict request.

    Args:
        document: The request's JSON object.
        specs: The signature's inputs; they say which dtype a number is to become. Whether the
            shapes fit is not checked here.

    Returns:
        Arrays by input alias, and whether the request has the row form, which the answer shares.

    Raises:
        InvalidInput: neither or both forms, or a value that does not belong there; the message
            names input, row and expected shape.
        Unsupported: an input has a dtype without JSON form (complex numbers).
    """
    if (ROWS_KEY in document) == (COLUMNS_KEY in document):
        if ROWS_KEY in document:
            msg = (
                f"{quote(document)} Not formatted correctly expecting only one of "
                f"'{COLUMNS_KEY}' or '{ROWS_KEY}' keys to exist "
            )
        else:
            msg = f"Missing '{COLUMNS_KEY}' or '{ROWS_KEY}' key"
        raise InvalidInput(msg)
    if not specs:
        return {}, _is_row_of_nothing(document)
    if ROWS_KEY in document:
        return _decode_rows(document[ROWS_KEY], specs), True
    return _decode_columns(document[COLUMNS_KEY], specs), False


def encode_outputs(outputs: Mapping[str, np.ndarray], *, rows: bool) -> bytes:
    """The JSON of a Predict response.

    Floats are written with the fewest digits that give the same number of their dtype again.

    Args:
        outputs: Arrays by output alias, at least one.
        rows: Row form, `{"predictions": ...}`; else columnar, `{"outputs": ...}`.

    Raises:
        InvalidInput: in row form, outputs differ in their first dimension or have none.
        Unsupported: a dtype without JSON form (complex numbers).
    """
    if rows:
        _check_row_counts(outputs)
    finite = all(
        array.dtype.kind != "f" or bool(np.isfinite(array).all()) for array in outputs.values()
    )
    values = {
        alias: json_tensor.to_json(alias, array, finite=finite) for alias, array in outputs.items()
    }
    answer: Json = values
    if len(values) == 1:
        (answer,) = values.values()
    elif rows:
        answer = [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]
    document = {"predictions" if rows else "outputs": answer}
    if finite:
        return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
    return json.dumps(document, separators=(",", ":")).encode()


# Decoding


def _decode_rows(rows: Json, specs: Mapping[str, TensorSpec]) -> dict[str, np.ndarray]:
    if not isinstance(rows, list):
        msg = f"{quote(rows)} Excepting '{ROWS_KEY}' to be an list/array"
        raise InvalidInput(msg)
    if not rows:
        msg = f"JSON Value: [] No values in '{ROWS_KEY}' array; expected at least one row"
        raise InvalidInput(msg)
    if not is_object(rows[0]):
        if len(specs) > 1:
            msg = (
                f"{ROWS_KEY} is a plain list, but expecting list of objects as multiple input "
                f"tensors required as per tensorinfo_map: {','.join(sorted(specs))}"
            )
            raise InvalidInput(msg)
        ((alias, spec),) = specs.items()
        for position, row in enumerate(rows):
            if type(row) is dict and is_object(row):
                msg = f"Expecting value/list but got object at item {position} of input list"
                raise InvalidInput(msg)
        return {alias: json_tensor.to_array(rows, alias, spec, rows=True)}
    _check_named_rows(rows, specs)
    return {
        alias: json_tensor.to_array([row[alias] for row in rows], alias, spec, rows=True)
        for alias, spec in specs.items()
    }


def _check_named_rows(rows: Sequence[Json], specs: Mapping[str, TensorSpec]) -> None:
    expected = specs.keys()
    for position, row in enumerate(rows):
        if not is_object(row):
            msg = f"Expecting object but got list at item {position} of input list"
            raise InvalidInput(msg)
        if row.keys() == expected:
            continue
        unknown = next((key for key in row if key not in expected), None)
        if unknown is not None:
            msg = (
                f"Failed to process element: {position} key: {unknown} of '{ROWS_KEY}' list. "
                f"Error: INVALID_ARGUMENT: JSON object: does not have named input: {unknown}; "
                f"inputs: {','.join(sorted(expected))}"
            )
        else:
            msg = (
                f"Failed to process element: {position} of '{ROWS_KEY}' list. JSON object: "
                f"{text(row)} keys must be equal to: {','.join(sorted(expected))}"
            )
        raise InvalidInput(msg)


def _decode_columns(
    columns: Json,
    specs: Mapping[str, TensorSpec],
) -> dict[str, np.ndarray]:
    if not is_object(columns):
        if len(specs) > 1:
            msg = (
                f"{COLUMNS_KEY} is a plain value/list, but expecting an object as multiple input "
                f"tensors required as per tensorinfo_map: {','.join(sorted(specs))}"
            )
            raise InvalidInput(msg)
        ((alias, spec),) = specs.items()
        return {alias: json_tensor.to_array(columns, alias, spec, rows=False)}
    for alias in specs:
        if alias not in columns:
            msg = f"Missing named input: {alias} in '{COLUMNS_KEY}' object."
            raise InvalidInput(msg)
    return {
        alias: json_tensor.to_array(columns[alias], alias, spec, rows=False)
        for alias, spec in specs.items()
    }


def _is_row_of_nothing(document: Mapping[str, Json]) -> bool:
    """Whether a request for a signature without inputs has the row form.

    TensorFlow Serving's REST API refuses such signatures.

    Raises:
        InvalidInput: it has anything else than one empty row, or no columns.
    """
    if document.get(ROWS_KEY) == [{}] or document.get(COLUMNS_KEY) == {}:
        return ROWS_KEY in document
    received = document.get(ROWS_KEY, document.get(COLUMNS_KEY))
    msg = (
        f"{quote(received)} for a signature that takes no inputs; expected "
        f'{{"{COLUMNS_KEY}": {{}}}} or {{"{ROWS_KEY}": [{{}}]}}'
    )
    raise InvalidInput(msg)


def _check_row_counts(outputs: Mapping[str, np.ndarray]) -> None:
    expected: int | None = None
    for alias, array in outputs.items():
        if array.ndim == 0:
            msg = (
                f"Tensor name: {alias} has no shape information ; a scalar has no rows: send "
                f"'{COLUMNS_KEY}' instead of '{ROWS_KEY}'"
            )
            raise InvalidInput(msg)
        if expected is not None and len(array) != expected:
            msg = (
                f"Tensor name: {alias} has inconsistent batch size: {len(array)} expecting: "
                f"{expected}; send '{COLUMNS_KEY}' instead of '{ROWS_KEY}'"
            )
            raise InvalidInput(msg)
        expected = len(array)
