"""Tests of the values and documents that Predict refuses in JSON."""

import contextlib
import json
from dataclasses import replace

import pytest
from calling.json_inputs import decode, spec

from serving.errors import InvalidInput
from serving.protocols.tfs import json_examples, json_predict
from serving.protocols.tfs.json_text import document

ELEMENT = "Failed to process element: {} of 'instances' list. Error: INVALID_ARGUMENT: "


@pytest.mark.parametrize(
    ("value", "dtype", "mistake"),
    [
        ("[1, 2.0]", "DT_INT32", "JSON Value: 2.0 Type: Number is not of expected type: int32"),
        ("[1, 256]", "DT_UINT8", "JSON Value: 256 Type: Number is not of expected type: uint8"),
        ("[1, -1]", "DT_UINT8", "JSON Value: -1 Type: Number is not of expected type: uint8"),
        ("[1, 128]", "DT_INT8", "(-128 to 127)"),
        ("[1, 9223372036854775808]", "DT_INT64", "(-9223372036854775808 to 92233720368547758"),
        ("[1, true]", "DT_INT32", "JSON Value: true Type: True is not of expected type: int32"),
        ("[1, true]", "DT_FLOAT", "JSON Value: true Type: True is not of expected type: float"),
        ("[1, null]", "DT_FLOAT", "JSON Value: null Type: Null is not of expected type: float"),
        ("[1, NaN]", "DT_INT32", "JSON Value: NaN Type: Number is not of expected type: int32"),
        ('[1, "2"]', "DT_FLOAT", 'JSON Value: "2" Type: String is not of expected type: float'),
        ("[1, false]", "DT_INT32", "JSON Value: false Type: False is not of expected type: int32"),
        ("[1, 18446744073709551616]", "DT_UINT64", "Type: Number is not of expected type: uint64"),
        ("[true, 1]", "DT_BOOL", "JSON Value: 1 Type: Number is not of expected type: bool"),
        ('["a", 1]', "DT_STRING", "JSON Value: 1 Type: Number is not of expected type: string"),
        ('["a", {"b64": "?"}]', "DT_STRING", "Unable to base64 decode"),
        ("[[1, 2], [3]]", "DT_FLOAT", "Expecting tensor size: 2 but got: 1"),
        ("[[1, 2], [[3], [4]]]", "DT_FLOAT", "Expecting shape [2] but got: [2,1]"),
        ("[1, [1]]", "DT_FLOAT", "Expecting shape [] but got: [1]"),
        ("[1, []]", "DT_FLOAT", "Expecting tensor size: 1 but got: 0"),
        ("[[[1], [2]], [[3], 4]]", "DT_FLOAT", "found at incorrect level: 2 in the JSON DOM"),
        ("[[1], 2]", "DT_FLOAT", "Expecting shape [1] but got: []"),
        ("[[1, 2], [3, [4]]]", "DT_FLOAT", "Encountered list at unexpected level: 1 expected < 1"),
        ("[[[1]], [[1], [2, 3]]]", "DT_FLOAT", "unexpected size: 2 at level: 1 expected size: 1"),
        (f"[1, {'[' * 40}1{']' * 40}]", "DT_FLOAT", "lists are nested deeper than 32 levels"),
    ],
)
def test_wrong_values_are_refused_by_row(value, dtype, mistake):
    """A wrong value is refused with its row, the value, and the dtype and shape of its input."""
    with pytest.raises(InvalidInput) as caught:
        decode(f'{{"instances": {value}}}', x=spec(dtype))

    assert caught.value.message.startswith(ELEMENT.format(1))
    assert mistake in caught.value.message
    assert caught.value.message.endswith(f'; input "x" takes {dtype} of shape (-1,)')


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "JSON Parse error: The document is empty"),
        ("  ", "JSON Parse error: The document is empty. at offset: 2"),
        ("{", "JSON Parse error: Missing a name for object member. at offset: 1"),
        ("instances = [1, 2]", "JSON Parse error: Invalid value. at offset: 0"),
        ('{"inputs": [1,]}', "JSON Parse error: Invalid value. at offset: 14"),
        ('{"inputs": [NaN x]}', "at offset: 16"),
        ('{"inputs": "\\ud800"}', "The surrogate pair in string is invalid. at offset: 12"),
        ("[1]", "JSON Value: [1] Is not object"),
        ("{}", "Missing 'inputs' or 'instances' key"),
        ('{"inputs": 1, "instances": [1]}', "expecting only one of 'inputs' or 'instances' keys"),
        ('{"instances": 1}', "\n} Expecting 'instances' to be an list/array"),
        ('{"instances": []}', "No values in 'instances' array"),
        ('{"instances": [[1], {"x": 1}]}', "Expecting value/list but got object at item 1"),
        ('{"instances": [{"x": 1}, [1]]}', "Expecting object but got list at item 1"),
        ('{"instances": [{"z": 1}]}', "element: 0 key: z of 'instances' list. Error: INVALID_ARG"),
        ('{"instances": [{"x": 1}, {}]}', "element: 1 of 'instances' list. JSON object: {} keys"),
        ('{"inputs": {"z": 1}}', "Missing named input: x in 'inputs' object."),
        ('{"inputs": [[1], [2, 3]]}', "unexpected size: 2 at level: 1 expected size: 1; input"),
        ('{"inputs": {"x": ["a"]}}', 'JSON Value: "a" Type: String is not of expected type: fl'),
    ],
)
def test_malformed_documents_are_refused(text, message):
    """Malformed documents get TensorFlow Serving's messages, with the offset of a JSON error."""
    with pytest.raises(InvalidInput) as caught:
        decode(text, x=spec("DT_FLOAT"))

    assert message in caught.value.message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"instances": [1]}', "instances is a plain list, but expecting list of objects"),
        ('{"inputs": [1]}', "inputs is a plain value/list, but expecting an object"),
    ],
)
def test_several_inputs_need_their_names(text, message):
    """For several inputs, a list without names is refused."""
    with pytest.raises(InvalidInput, match=message):
        decode(text, a=spec("DT_FLOAT"), b=spec("DT_FLOAT"))


def test_long_values_are_quoted_in_part():
    """A message about a value of a megabyte quotes only its beginning."""
    with pytest.raises(InvalidInput) as caught:
        decode(json.dumps({"instances": "x" * 1_000_000}), x=spec("DT_FLOAT"))

    assert len(caught.value.message) < 400


@pytest.mark.parametrize(
    ("text", "received"),
    [
        ('{"inputs": {"x": 1}}', '{\n    "x": 1\n}'),
        ('{"inputs": []}', "[]"),
        ('{"instances": [{}, {}]}', "[{}, {}]"),
        ('{"instances": []}', "[]"),
        ('{"instances": [1]}', "[1]"),
    ],
)
def test_a_signature_without_inputs_takes_nothing_else(text, received):
    """Other values for a signature without inputs are refused; the message shows both forms."""
    with pytest.raises(InvalidInput) as caught:
        decode(text)

    assert caught.value.message == (
        f"JSON Value: {received} for a signature that takes no inputs; expected "
        '{"inputs": {}} or {"instances": [{}]}'
    )


def test_a_mistake_in_a_tensor_of_unknown_rank_is_named():
    """A wrong value for an input of unknown rank is refused with the input's name and dtype."""
    with pytest.raises(InvalidInput, match='input "x" takes DT_FLOAT of any rank'):
        decode('{"inputs": [1, "a"]}', x=replace(spec("DT_FLOAT"), shape=None))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            '{"a": 1, "b": 2}, {"a": 1, "b": "x"}, {"a": 1}',
            "element: 1 key: b of 'instances' list. E",
        ),
        (
            '{"a": 1, "b": 2}, {"b": true, "a": "x"}',
            "element: 1 key: b of 'instances' list. Error: INV",
        ),
        (
            '{"a": 1, "b": 2}, {"b": 1}, {"a": "x", "b": 1}',
            "element: 1 of 'instances' list. JSON obj",
        ),
        ('{"a": [1], "b": 2}, {"a": [1, 2], "b": 2}', "Expecting tensor size: 1 but got: 2; input"),
        (
            '{"a": 1, "b": 2}, 7, {"a": "x", "b": 1}',
            "Expecting object but got list at item 1 of input",
        ),
        ('{"a": 1, "b": 2}, {"b64": "YQ=="}', "Expecting object but got list at item 1 of input"),
    ],
)
def test_the_first_wrong_row_is_named_whatever_is_wrong(rows, message):
    """The message names the first wrong row, whatever its error, as in TensorFlow Serving."""
    with pytest.raises(InvalidInput) as caught:
        decode(f'{{"instances": [{rows}]}}', a=spec("DT_FLOAT"), b=spec("DT_INT32"))

    assert message in caught.value.message


def test_a_shape_over_all_ranks_is_refused():
    """Rows of 32 dimensions are refused: with the list of rows there would be 33."""
    row = "[" * 32 + "1" + "]" * 32
    for rows in (row, f'{{"x": {row}}}'):
        with pytest.raises(InvalidInput, match="nested too deeply"):
            decode(f'{{"instances": [{rows}]}}', x=spec("DT_FLOAT"))


@pytest.mark.parametrize(
    ("read", "body"),
    [
        (lambda body, **more: json_predict.read_predict(body, {}, "", **more), b'{"inputs": NaN}'),
        (
            lambda body, **more: json_examples.read(body, {"": {}}, "", "classify", **more),
            b'{"examples": [], "examples": []}',
        ),
    ],
)
def test_texts_for_the_slow_reader_are_refused_on_demand(read, body):
    """The event loop hands them to a child; by default they are read."""
    body = b" " * document.SLOW_IN_LOOP_BYTES + body

    with pytest.raises(document.SlowError):
        read(body, may_be_slow=False)
    with contextlib.suppress(InvalidInput):
        read(body)
