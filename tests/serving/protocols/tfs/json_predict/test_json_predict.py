import base64
import contextlib
import json
from dataclasses import replace

import numpy as np
import pytest
from calling.json_inputs import decode, spec
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from serving.errors import InvalidInput, Unsupported
from serving.protocols.tfs import json_predict
from serving.tensors.signature import DataType


def same(left: np.ndarray, right: np.ndarray) -> bool:
    """Return whether two arrays have the same dtype, shape, values and signs of zeros."""
    if left.dtype != right.dtype or left.shape != right.shape:
        return False
    if left.dtype.kind != "f":
        return left.tolist() == right.tolist()
    signs = np.signbit(left) == np.signbit(right)
    return bool(np.all((left == right) & signs | np.isnan(left) & np.isnan(right)))


NUMBERS = st.sampled_from(
    [data_type.numpy.name for data_type in DataType if data_type.numpy.kind in "biuf"]
)
ARRAYS = NUMBERS.flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=1, max_dims=4, max_side=4))
)
KEYS = {True: ("predictions", "instances"), False: ("outputs", "inputs")}


@settings(deadline=None)
@given(arrays=st.lists(ARRAYS, min_size=1, max_size=3), rows=st.booleans())
@example(arrays=[np.array([np.finfo(np.float32).max])], rows=True)
def test_arrays_survive_json_bit_by_bit(arrays, rows):
    """Outputs written as JSON and read as inputs are the same arrays, bit by bit."""
    count = min(len(array) for array in arrays)
    outputs = {f"t{number}": array[:count] for number, array in enumerate(arrays)}
    specs = {
        alias: spec(DataType.from_numpy(array.dtype).name, *([-1] * array.ndim))
        for alias, array in outputs.items()
    }
    written, read = KEYS[rows]

    text = json_predict.encode_outputs(outputs, rows=rows).decode()
    decoded, were_rows = decode(text.replace(f'"{written}"', f'"{read}"', 1), **specs)

    assert were_rows is rows
    assert all(same(decoded[alias], array) for alias, array in outputs.items())


@settings(deadline=None)
@given(
    values=st.lists(st.binary() | st.text().map(str.encode), min_size=1),
    rows=st.booleans(),
    alias=st.sampled_from(["x", "x_bytes"]),
)
def test_strings_survive_json(values, rows, alias):
    """Text is written as a JSON string, other bytes in base64; both are read back the same."""
    array = np.array([*values, None], object)[:-1]
    written, read = KEYS[rows]

    text = json_predict.encode_outputs({alias: array}, rows=rows).decode()
    decoded, _ = decode(text.replace(f'"{written}"', f'"{read}"', 1), x=spec("DT_STRING"))

    assert decoded["x"].tolist() == values


def test_outputs_named_bytes_are_base64():
    """String outputs whose name ends in "_bytes" are base64, as in TensorFlow Serving."""
    array = np.array([b"abc"], object)

    assert json.loads(json_predict.encode_outputs({"y_bytes": array}, rows=True)) == {
        "predictions": [{"b64": "YWJj"}]
    }
    assert json.loads(json_predict.encode_outputs({"y": array}, rows=True)) == {
        "predictions": ["abc"]
    }


def test_floats_are_written_with_the_fewest_digits():
    """0.1 as float32 is 0.1, whole numbers keep their point, and NaN and Infinity are literals."""
    array = np.array([0.1, 3, 16777216, 1e-7], np.float32)

    assert json_predict.encode_outputs({"y": array}, rows=False) == (
        b'{"outputs":[0.1,3.0,16777216.0,1e-7]}'
    )
    array = np.array([0.1, np.nan, np.inf, -np.inf], np.float32)
    assert json_predict.encode_outputs({"y": array}, rows=False) == (
        b'{"outputs":[0.1,NaN,Infinity,-Infinity]}'
    )


def test_integers_of_either_c_type_can_be_written_row_by_row():
    """Arrays of the C types `long` and `long long` can be written row by row.

    Both are the same type under two names; ONNX Runtime returns the second.
    """
    outputs = {"a": np.array([1, 2], np.longlong), "b": np.array([3, 4], np.long)}

    assert json_predict.encode_outputs(outputs, rows=True) == (
        b'{"predictions":[{"a":1,"b":3},{"a":2,"b":4}]}'
    )


def test_a_scalar_needs_the_columnar_form():
    """A scalar output can be written in the columnar form only: it has no rows."""
    outputs = {"y": np.array(0.1, np.float32)}

    assert json_predict.encode_outputs(outputs, rows=False) == b'{"outputs":0.1}'
    with pytest.raises(InvalidInput, match="Tensor name: y has no shape information"):
        json_predict.encode_outputs(outputs, rows=True)


def test_rows_need_outputs_of_one_length():
    """Outputs of different lengths are refused as rows; the message has output and sizes."""
    outputs = {"a": np.zeros(2), "b": np.zeros(3)}

    with pytest.raises(
        InvalidInput, match="Tensor name: b has inconsistent batch size: 3 expecting: 2"
    ):
        json_predict.encode_outputs(outputs, rows=True)


@pytest.mark.parametrize(
    ("text", "dtype", "expected"),
    [
        ('{"instances": [1, 2]}', "DT_FLOAT", [1.0, 2.0]),
        ('{"instances": [1, 2.5]}', "DT_HALF", [1.0, 2.5]),
        ('{"instances": [0, 255]}', "DT_UINT8", [0, 255]),
        ('{"instances": [[1, 2], [3, 4]]}', "DT_UINT8", [[1, 2], [3, 4]]),
        ('{"instances": [true, false]}', "DT_BOOL", [True, False]),
        ('{"instances": ["a", {"b64": "/+8"}]}', "DT_STRING", [b"a", b"\xff\xef"]),
        ('{"instances": [{"b64": "YQ=="}]}', "DT_STRING", [b"a"]),
        ('{"instances": [{"x": 3}, {"x": 4}]}', "DT_INT64", [3, 4]),
        ('{"instances": [18446744073709551615]}', "DT_UINT64", [2**64 - 1]),
        ('{"instances": [-9223372036854775808]}', "DT_INT64", [-(2**63)]),
        ('{"inputs": [1, 2]}', "DT_INT32", [1, 2]),
        ('{"inputs": {"x": [1, 2]}}', "DT_INT32", [1, 2]),
        ('{"inputs": {"b64": "YQ=="}}', "DT_STRING", b"a"),
        ('{"inputs": 7}', "DT_INT32", 7),
        ('{"inputs": []}', "DT_INT32", []),
        ('{"inputs": [[], []]}', "DT_INT32", [[], []]),
        ('{"inputs": [16777217, 1e38]}', "DT_FLOAT", [16777216, float(np.float32(1e38))]),
        ('{"inputs": [1435774380]}', "DT_FLOAT", [float(np.float32(1435774380))]),
        ('{"inputs": [1435774380.0]}', "DT_FLOAT", [float(np.float32(1435774380))]),
        ('{"inputs": [1.7976931348623157e308, -1e39]}', "DT_FLOAT", [np.inf, -np.inf]),
        ('{"inputs": [2.2250738585072014e-308]}', "DT_FLOAT", [0.0]),
        ('{"inputs": [1e5, 2049]}', "DT_HALF", [np.inf, 2048]),
        ('{"inputs": [9223372036854775807]}', "DT_DOUBLE", [2.0**63]),
        (
            '{"inputs": [18446744073709551616, -9223372036854775809]}',
            "DT_DOUBLE",
            [2.0**64, -(2.0**63)],
        ),
        ('{"inputs": [-0]}', "DT_UINT32", [0]),
        ('{"instances": [{"b64": "YW Jj\\r\\nZA=="}]}', "DT_STRING", [b"abcd"]),
        ('{"signature_name": "s", "extra": 1, "inputs": [1]}', "DT_INT32", [1]),
    ],
)
def test_values_become_tensors_of_the_signatures_dtype(text, dtype, expected):
    """Rows and columns, names, base64 strings and extreme numbers become tensors of the dtype."""
    arrays, _ = decode(text, x=spec(dtype))

    assert arrays["x"].tolist() == expected
    assert arrays["x"].dtype == DataType[dtype].numpy


def test_non_finite_numbers_are_read():
    """NaN and both infinities are numbers, as in TensorFlow Serving."""
    arrays, _ = decode('{"instances": [NaN, Infinity, -Infinity, 1]}', x=spec("DT_FLOAT"))

    assert same(arrays["x"], np.array([np.nan, np.inf, -np.inf, 1], np.float32))


def test_several_inputs_are_read_by_name():
    """Several inputs are read by name, from rows or from columns."""
    expected = {"a": [1, 3], "b": [2, 4]}
    for text in (
        '{"instances": [{"a": 1, "b": 2}, {"b": 4, "a": 3}]}',
        '{"inputs": {"b": [2, 4], "a": [1, 3]}}',
    ):
        arrays, _ = decode(text, a=spec("DT_INT32"), b=spec("DT_INT64"))

        assert {alias: array.tolist() for alias, array in arrays.items()} == expected


def test_a_signature_name_is_a_string():
    """A missing signature_name is ""; a value that is not a string is refused."""
    assert json_predict.signature_name({}) == ""
    assert json_predict.signature_name({"signature_name": "s"}) == "s"
    with pytest.raises(InvalidInput, match="'signature_name' key must be a string value"):
        json_predict.signature_name({"signature_name": 1})


def test_complex_numbers_have_no_json_form():
    """Complex numbers are refused as input and as output: JSON has no form for them."""
    with pytest.raises(Unsupported, match="to type: complex64"):
        decode('{"inputs": [1]}', x=spec("DT_COMPLEX64"))
    with pytest.raises(InvalidInput, match="Error: UNIMPLEMENTED: Conversion of JSON"):
        decode('{"instances": [1]}', x=spec("DT_COMPLEX64"))
    with pytest.raises(InvalidInput, match="JSON value for tensor type: complex64 of output y"):
        json_predict.encode_outputs({"y": np.zeros(1, np.complex64)}, rows=True)


@given(st.binary(max_size=200))
def test_base64_is_read_with_and_without_padding(content):
    """Base64 is read with and without padding, as in TensorFlow Serving."""
    digits = base64.b64encode(content).decode()
    for text in (digits, digits.rstrip("=")):
        arrays, _ = decode(json.dumps({"instances": [{"b64": text}]}), x=spec("DT_STRING"))

        assert arrays["x"].tolist() == [content]


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["x", "b64", "z"]), inner, max_size=2)
    ),
    max_leaves=8,
)


@settings(deadline=None)
@given(value=JSON_VALUES, form=st.sampled_from(["instances", "inputs"]), dtype=NUMBERS)
def test_any_json_is_read_or_refused(value, form, dtype):
    """Any JSON value is either decoded to the dtype or refused with InvalidInput."""
    data_type = DataType.from_numpy(np.dtype(dtype)).name
    arrays = {}
    with contextlib.suppress(InvalidInput):
        arrays, _ = decode(json.dumps({form: value}), x=spec(data_type))

    assert all(array.dtype == np.dtype(dtype) for array in arrays.values())


@pytest.mark.parametrize(
    ("text", "rows"), [('{"inputs": {}}', False), ('{"instances": [{}]}', True)]
)
def test_a_signature_without_inputs_takes_nothing(text, rows):
    """A signature without inputs accepts no columns, or one row without values."""
    assert decode(text) == ({}, rows)


@pytest.mark.parametrize(
    ("text", "sizes", "expected"),
    [
        ('{"inputs": []}', (-1, 3, 4), (0, 3, 4)),
        ('{"inputs": [[], []]}', (2, 0, 4), (2, 0, 4)),
        ('{"instances": [[], []]}', (-1, 0, 4), (2, 0, 4)),
        ('{"inputs": []}', (0, -1), (0,)),
        ('{"inputs": [[]]}', (-1, 3), (1, 0)),
    ],
)
def test_sizes_behind_an_empty_list_come_from_the_model(text, sizes, expected):
    """Dimensions inside an empty list have the declared sizes, if all of them are declared.

    Otherwise, and for a list of the wrong length, the shape ends at the empty list.
    """
    arrays, _ = decode(text, x=spec("DT_FLOAT", *sizes))

    assert arrays["x"].shape == expected


def test_an_unknown_rank_takes_the_shape_of_the_lists():
    """An input of unknown rank has the shape of its lists; an empty list has shape (0,)."""
    unknown = replace(spec("DT_FLOAT"), shape=None)
    shapes = {
        text: decode(f'{{"inputs": {text}}}', x=unknown)[0]["x"].shape
        for text in ("1", "[1, 2]", "[[1], [2]]", "[]")
    }

    assert shapes == {"1": (), "[1, 2]": (2,), "[[1], [2]]": (2, 1), "[]": (0,)}


def test_integers_are_read_as_doubles_first():
    """As TensorFlow Serving does: this one is halfway between two floats as a double, then even."""
    inputs, _ = decode(f'{{"inputs": [{2**60 + 2**36 + 1}]}}', x=spec("DT_FLOAT"))

    assert inputs["x"].tolist() == [float(2**60)]
