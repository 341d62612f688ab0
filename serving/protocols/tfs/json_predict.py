"""Decode and encode the bodies of Predict in TensorFlow Serving's REST API.

In the row form, a request is `{"instances": [row, ...]}` and its response
`{"predictions": [row, ...]}`; a row is the value of the only tensor, or an object with the value of
each tensor. In the columnar form, a request is `{"inputs": value}` and its response
`{"outputs": value}`; the value is the whole tensor, or an object of whole tensors. Binary strings
are written `{"b64": "..."}`. Rules and messages follow util/json_tensor.cc.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple, NoReturn

import numpy as np
import orjson

from serving.errors import InvalidInput, Unsupported
from serving.protocols.tfs import json_tensor
from serving.protocols.tfs.json_tensor import is_object
from serving.protocols.tfs.json_text import document as json_document
from serving.protocols.tfs.json_text import pretty
from serving.protocols.tfs.json_text.quote import Json, printable, quote, text
from serving.tensors import bfloat16
from serving.tensors.signature import TensorSpec

SIGNATURE_KEY = "signature_name"
ROWS_KEY, COLUMNS_KEY = "instances", "inputs"


class PredictInputs(NamedTuple):
    """The signature and the inputs of a Predict request.

    Attributes:
        signature_name: The name in the request; empty if the request names no signature.
        arrays: Arrays by input alias; None if the model has no such signature.
        rows: Whether the request has the row form; the answer then has it, too.
    """

    signature_name: str
    arrays: dict[str, np.ndarray] | None
    rows: bool


class SignatureInputs(NamedTuple):
    """The inputs of a signature.

    Attributes:
        specs: Tensor specs by input alias.
        optional: Aliases of the inputs that a request may leave out.
    """

    specs: Mapping[str, TensorSpec]
    optional: Collection[str] = ()


def read_predict(
    body: bytes,
    signatures: Mapping[str, SignatureInputs],
    default: str,
    *,
    may_be_slow: bool = True,
) -> PredictInputs:
    """Read a Predict request.

    Args:
        body: The request's body.
        signatures: The inputs of each signature of the model, by signature name.
        default: Name of the signature to use if the request names none.
        may_be_slow: See `json_text.document.load`.

    Raises:
        InvalidInput, Unsupported: see `parse`, `signature_name` and `decode_inputs`.
        SlowError: see `json_text.document.load`.
    """
    document = parse(body, may_be_slow=may_be_slow)
    name = signature_name(document)
    inputs = signatures.get(name or default)
    if inputs is None:
        return PredictInputs(name, None, rows=False)
    return PredictInputs(name, *decode_inputs(document, inputs.specs, inputs.optional))


def parse(
    body: bytes, *, key: str = ROWS_KEY, may_be_slow: bool = True, last_inside: bool = False
) -> dict[str, Json]:
    """Parse a request's JSON object by TensorFlow Serving's rules.

    Args:
        body: The request's body.
        key: A key that the object should have, for error messages.
        may_be_slow: See `json_text.document.load`.
        last_inside: See `json_text.document.load`.

    Raises:
        InvalidInput: the body is empty, is not JSON (the message has the offset of the mistake), or
            is not an object.
        SlowError: see `json_text.document.load`.
    """
    if not body:
        msg = "JSON Parse error: The document is empty"
        raise InvalidInput(msg)
    document = json_document.load(body, may_be_slow=may_be_slow, last_inside=last_inside)
    if not isinstance(document, dict):
        msg = f'{quote(document)} Is not object; expected {{"{key}": [...]}}'
        raise InvalidInput(msg)
    return document


def signature_name(document: Mapping[str, Json]) -> str:
    """Return the name of a request's signature; empty if the request names none.

    Raises:
        InvalidInput: the name is not a string.
    """
    name = document.get(SIGNATURE_KEY, "")
    if not isinstance(name, str):
        msg = (
            f"{quote(document)} not formatted correctly. '{SIGNATURE_KEY}' key must be a string "
            "value."
        )
        raise InvalidInput(msg)
    return printable(name)


def decode_inputs(
    document: Mapping[str, Json],
    specs: Mapping[str, TensorSpec],
    optional: Collection[str] = (),
) -> tuple[dict[str, np.ndarray], bool]:
    """Decode the input tensors of a Predict request.

    Args:
        document: The request's JSON object.
        specs: The signature's inputs by alias. Their dtypes decide what numbers become; their
            shapes are not checked here.
        optional: Aliases of the inputs that a request may leave out. In the row form, either all
            rows have an optional input or none.

    Returns:
        Arrays by input alias, and whether the request has the row form; the answer has the same.

    Raises:
        InvalidInput: the request has both forms or neither, or a value does not fit its input; the
            message names input, row and expected shape. In the row form, also an input whose dtype
            has no JSON form.
        Unsupported: in the columnar form, an input's dtype has no JSON form (complex numbers).
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
        return {}, _is_empty_row_form(document)
    if ROWS_KEY in document:
        return _decode_rows(document, specs, optional), True
    return _decode_columns(document[COLUMNS_KEY], specs, optional), False


def encode_outputs(
    outputs: Mapping[str, np.ndarray], *, rows: bool, tfs_format: bool = False
) -> bytes:
    """Encode a Predict response as JSON.

    Floats have the fewest digits that read back as the same number of their dtype.

    Args:
        outputs: Arrays by output alias, at least one.
        rows: Whether to write the row form, `{"predictions": ...}`; otherwise the columnar form,
            `{"outputs": ...}`.
        tfs_format: Whether to use TensorFlow Serving's layout and digits; see `json_text.pretty`.

    Raises:
        InvalidInput: in the row form, an output is a scalar or the outputs differ in their first
            dimension; or a dtype has no JSON form (complex numbers).
    """
    if rows:
        _check_row_counts(outputs)
    outputs = {alias: bfloat16.to_floats(array) for alias, array in outputs.items()}
    if tfs_format:
        binary = set(filter(json_tensor.is_binary, outputs))
        return pretty.rows(outputs, binary) if rows else pretty.columns(outputs, binary)
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


def _decode_rows(
    document: Mapping[str, Json], specs: Mapping[str, TensorSpec], optional: Collection[str]
) -> dict[str, np.ndarray]:
    rows = document[ROWS_KEY]
    if not isinstance(rows, list):
        msg = f"{quote(document)} Expecting '{ROWS_KEY}' to be an list/array"
        raise InvalidInput(msg)
    if not rows:
        msg = f"{quote(document)} No values in '{ROWS_KEY}' array; expected at least one row"
        raise InvalidInput(msg)
    try:
        if is_object(rows[0]):
            return _decode_named_rows(rows, specs, optional)
        return _decode_plain_rows(rows, specs)
    except Unsupported as error:
        # TensorFlow Serving reports the dtype as a mistake in the first row, INVALID_ARGUMENT.
        msg = (
            f"Failed to process element: 0 of '{ROWS_KEY}' list. "
            f"Error: UNIMPLEMENTED: {error.message}"
        )
        raise InvalidInput(msg) from None


def _decode_plain_rows(
    rows: Sequence[Json], specs: Mapping[str, TensorSpec]
) -> dict[str, np.ndarray]:
    if len(specs) > 1:
        msg = (
            f"{ROWS_KEY} is a plain list, but expecting list of objects as multiple input "
            f"tensors required as per tensorinfo_map: {','.join(sorted(specs))}"
        )
        raise InvalidInput(msg)
    ((alias, spec),) = specs.items()
    array = json_tensor.try_array(rows, spec)
    if array is not None:
        return {alias: array}
    named = (position for position, row in enumerate(rows) if type(row) is dict and is_object(row))
    whole = next(named, len(rows))
    mistake = json_tensor.find_row_mistake(rows[:whole], spec.dtype)
    if mistake is None and whole < len(rows):
        msg = f"Expecting value/list but got object at item {whole} of input list"
        raise InvalidInput(msg)
    position, reason = mistake or (0, "its values are nested too deeply")
    msg = (
        f"Failed to process element: {position} of '{ROWS_KEY}' list. "
        f"Error: INVALID_ARGUMENT: {reason}; {json_tensor.expected(alias, spec)}"
    )
    raise InvalidInput(msg)


def _decode_named_rows(
    rows: Sequence[Json], specs: Mapping[str, TensorSpec], optional: Collection[str]
) -> dict[str, np.ndarray]:
    # The first row decides which optional inputs all rows must have. A row needs at least one
    # input: default values alone do not tell the number of rows.
    aliases = [alias for alias in specs if alias not in optional or alias in rows[0]] or specs
    keys = dict.fromkeys(aliases).keys()
    arrays: dict[str, np.ndarray] = {}
    if all(type(row) is dict and row.keys() == keys for row in rows):
        for alias in aliases:
            array = json_tensor.try_array([row[alias] for row in rows], specs[alias])
            if array is None:
                break
            arrays[alias] = array
    if len(arrays) < len(keys):
        _refuse_named_rows(rows, specs, keys)
    return arrays


def _refuse_named_rows(
    rows: Sequence[Json], specs: Mapping[str, TensorSpec], keys: Collection[str]
) -> NoReturn:
    """Raise InvalidInput naming the first row that has a mistake."""
    has_keys = (type(row) is dict and row.keys() == keys for row in rows)
    whole = next((position for position, right in enumerate(has_keys) if not right), len(rows))
    mistakes = []
    for alias in rows[0] if whole else ():
        found = json_tensor.find_row_mistake(
            [row[alias] for row in rows[:whole]], specs[alias].dtype
        )
        if found:
            order = list(rows[found.position]).index(alias)
            mistakes.append((found.position, order, alias, found.text))
    if mistakes:
        position, _, alias, mistake = min(mistakes)
        msg = (
            f"Failed to process element: {position} key: {alias} of '{ROWS_KEY}' list. "
            f"Error: INVALID_ARGUMENT: {mistake}; {json_tensor.expected(alias, specs[alias])}"
        )
        raise InvalidInput(msg)
    if whole == len(rows):
        msg = f"the values of '{ROWS_KEY}' cannot be converted: they are nested too deeply"
        raise InvalidInput(msg)
    row = rows[whole]
    if not is_object(row):
        msg = f"Expecting object but got list at item {whole} of input list"
        raise InvalidInput(msg)
    unknown = next((printable(key) for key in row if key not in specs), None)
    if unknown is not None:
        msg = (
            f"Failed to process element: {whole} key: {unknown} of '{ROWS_KEY}' list. "
            f"Error: INVALID_ARGUMENT: JSON object: does not have named input: {unknown}; "
            f"inputs: {','.join(sorted(specs))}"
        )
    else:
        msg = (
            f"Failed to process element: {whole} of '{ROWS_KEY}' list. JSON object: "
            f"{text(row)} keys must be equal to: {','.join(sorted(keys))}"
        )
    raise InvalidInput(msg)


def _decode_columns(
    columns: Json, specs: Mapping[str, TensorSpec], optional: Collection[str]
) -> dict[str, np.ndarray]:
    if not is_object(columns):
        if len(specs) > 1:
            msg = (
                f"{COLUMNS_KEY} is a plain value/list, but expecting an object as multiple input "
                f"tensors required as per tensorinfo_map: {','.join(sorted(specs))}"
            )
            raise InvalidInput(msg)
        ((alias, spec),) = specs.items()
        return {alias: json_tensor.to_array(columns, alias, spec)}
    arrays = {}
    for alias, spec in specs.items():
        if alias in columns:
            arrays[alias] = json_tensor.to_array(columns[alias], alias, spec)
        elif alias not in optional:
            msg = f"Missing named input: {alias} in '{COLUMNS_KEY}' object."
            raise InvalidInput(msg)
    return arrays


def _is_empty_row_form(document: Mapping[str, Json]) -> bool:
    """Whether a request for a signature without inputs has the row form.

    TensorFlow Serving's REST API refuses such signatures.

    Raises:
        InvalidInput: the request has neither one empty row nor an empty object of columns.
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
