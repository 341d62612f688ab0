import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from serving.errors import InvalidInput
from serving.protocols.kserve import tensor_bytes
from serving.protos.kserve_pb2 import InferTensorContents
from serving.tensors.signature import DataType

NUMBERS = {
    "BOOL": np.bool_,
    "UINT8": np.uint8,
    "UINT16": np.uint16,
    "UINT32": np.uint32,
    "UINT64": np.uint64,
    "INT8": np.int8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "FP16": np.float16,
    "FP32": np.float32,
    "FP64": np.float64,
}
SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)


@st.composite
def numbers(draw: st.DrawFn) -> tuple[str, np.ndarray]:
    datatype = draw(st.sampled_from(sorted(NUMBERS)))
    return datatype, draw(hnp.arrays(NUMBERS[datatype], draw(SHAPES)))


@st.composite
def strings(draw: st.DrawFn) -> np.ndarray:
    shape = draw(SHAPES)
    count = math.prod(shape)
    array = np.empty(count, dtype=object)
    array[:] = draw(st.lists(st.binary(max_size=9), min_size=count, max_size=count))
    return array.reshape(shape)


@given(tensor=numbers())
def test_raw_numbers_survive_the_round_trip(tensor):
    """Raw numbers of every datatype keep their bits and their shape."""
    datatype, array = tensor

    decoded = tensor_bytes.decode_raw(datatype, array.shape, tensor_bytes.encode_raw(array))

    assert decoded.dtype == array.dtype
    assert decoded.shape == array.shape
    assert decoded.tobytes() == array.tobytes()


@given(tensor=numbers().filter(lambda tensor: tensor[0] != "FP16"))
def test_typed_numbers_survive_the_round_trip(tensor):
    """Numbers of every datatype with a typed field are the same after serialization."""
    datatype, array = tensor
    contents = InferTensorContents()
    tensor_bytes.encode_contents(array, contents)

    received = InferTensorContents.FromString(contents.SerializeToString())
    decoded = tensor_bytes.decode_contents(datatype, array.shape, received)

    assert decoded.dtype == array.dtype
    assert decoded.shape == array.shape
    np.testing.assert_array_equal(decoded, array)


@given(array=strings())
def test_strings_survive_both_round_trips(array):
    """Byte strings of any content and length are the same in raw and in typed form."""
    contents = InferTensorContents()
    tensor_bytes.encode_contents(array, contents)

    raw = tensor_bytes.decode_raw("BYTES", array.shape, tensor_bytes.encode_raw(array))
    typed = tensor_bytes.decode_contents("BYTES", array.shape, contents)

    assert raw.dtype == typed.dtype == object
    assert raw.tolist() == typed.tolist() == array.tolist()
    assert raw.shape == typed.shape == array.shape


def test_raw_content_is_little_endian():
    """Raw content is little-endian for arrays of any byte order; text is UTF-8 after its length."""
    assert tensor_bytes.encode_raw(np.array([1], ">i4")) == b"\x01\0\0\0"
    assert tensor_bytes.encode_raw(np.array(["ü"])) == b"\x02\0\0\0\xc3\xbc"


def test_raw_booleans_are_true_for_any_other_byte_than_zero():
    """Every byte except 0 is True in raw booleans, and is stored as 1."""
    decoded = tensor_bytes.decode_raw("BOOL", [3], b"\0\1\2")

    assert decoded.view(np.uint8).tolist() == [0, 1, 1]


def test_every_datatype_has_its_name():
    """Each element type has the protocol's name."""
    names = {
        tensor_bytes.datatype_of(DataType.from_numpy(np.dtype(dtype))): dtype
        for dtype in [*NUMBERS.values(), object]
    }

    assert names == NUMBERS | {"BYTES": object}


def test_only_fp16_has_no_typed_form():
    """Every datatype except FP16 has a typed form; answers with FP16 must be raw."""
    typed = {
        datatype
        for datatype, dtype in NUMBERS.items()
        if tensor_bytes.has_typed_form(np.zeros(1, dtype))
    }

    assert typed == NUMBERS.keys() - {"FP16"}


@pytest.mark.parametrize(
    ("datatype", "shape", "content", "message"),
    [
        ("FLOAT", [1], b"", "datatype 'FLOAT' is unknown; expected one of BOOL, UINT8"),
        ("", [1], b"", "datatype '' is unknown"),
        ("FP32", [-1, 3], b"", r"shape is \(-1, 3\), expected sizes of at least 0"),
        (
            "FP32",
            [1, 3],
            bytes(11),
            r"raw content has 11 bytes, expected 12 for shape \(1, 3\) and datatype FP32",
        ),
        ("FP32", [], b"", "raw content has 0 bytes, expected 4"),
        ("UINT8", [1 << 62, 1 << 62], bytes(9), "raw content has 9 bytes, expected 212676"),
        ("UINT8", [0, 1 << 62, 1 << 62], b"", "cannot be used"),
        ("UINT8", [0, 1 << 70], b"", "cannot be used"),
        ("UINT8", [1] * 65, b"\0", "shape has 65 dimensions, expected at most 64"),
        ("BYTES", [1], b"\1\0\0", "ends inside the length of element 0: 3 of 4 bytes"),
        ("BYTES", [1], b"\5\0\0\0abc", "element 0 announces 5 bytes, but 3 are left"),
        ("BYTES", [2], b"\1\0\0\0a", "BYTES content has 1 elements, expected 2"),
        ("BYTES", [1], b"\1\0\0\0a" * 3, "BYTES content has more elements, expected 1"),
        ("BYTES", [1], b"", "BYTES content has 0 elements, expected 1"),
    ],
)
def test_malformed_raw_content_is_refused(datatype, shape, content, message):
    """Raw content that does not fit datatype and shape is refused; the message has both sides."""
    with pytest.raises(InvalidInput, match=message):
        tensor_bytes.decode_raw(datatype, shape, content)


@pytest.mark.parametrize(
    ("datatype", "shape", "contents", "message"),
    [
        ("COMPLEX", [1], {}, "datatype 'COMPLEX' is unknown"),
        ("FP16", [1], {"fp32_contents": [1]}, "FP16 has no typed contents; send it in raw"),
        (
            "FP32",
            [1],
            {"fp64_contents": [1]},
            "contents has fp64_contents, expected only fp32_contents for datatype FP32",
        ),
        (
            "INT8",
            [1],
            {"int_contents": [1], "bool_contents": [True]},
            "contents has bool_contents, int_contents, expected only int_contents",
        ),
        (
            "INT64",
            [2, 2],
            {"int64_contents": [1, 2, 3]},
            r"int64_contents has 3 elements, expected 4 for shape \(2, 2\) and datatype INT64",
        ),
        ("INT64", [1], {}, "int64_contents has 0 elements, expected 1"),
        (
            "UINT8",
            [2],
            {"uint_contents": [0, 256]},
            "uint_contents has values from 0 to 256, expected 0 to 255 for datatype UINT8",
        ),
        (
            "INT16",
            [2],
            {"int_contents": [-32769, 7]},
            "int_contents has values from -32769 to 7, expected -32768 to 32767",
        ),
    ],
)
def test_malformed_typed_contents_are_refused(datatype, shape, contents, message):
    """The wrong field, number of elements or range is refused; the message has the right one."""
    with pytest.raises(InvalidInput, match=message):
        tensor_bytes.decode_contents(datatype, shape, InferTensorContents(**contents))
