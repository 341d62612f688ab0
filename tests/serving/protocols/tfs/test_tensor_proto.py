import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from serving.errors import InvalidInput
from serving.protocols.tfs import tensor_proto
from serving.protos.tensorflow_pb2 import DataType as ProtoType
from serving.protos.tensorflow_pb2 import TensorProto
from serving.tensors import bfloat16
from serving.tensors.signature import DataType

NUMERIC = [dtype for dtype in DataType if dtype is not DataType.DT_STRING]


def tensor(dtype: int, shape: tuple[int, ...], **values: object) -> TensorProto:
    proto = TensorProto(dtype=dtype, **values)
    proto.tensor_shape.SetInParent()
    for size in shape:
        proto.tensor_shape.dim.add().size = size
    return proto


@st.composite
def arrays(draw: st.DrawFn) -> np.ndarray:
    dtype = draw(st.sampled_from(NUMERIC)).numpy
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5))
    return draw(hnp.arrays(dtype, shape))


@given(array=arrays(), as_content=st.booleans())
def test_numbers_survive_the_round_trip(array, as_content):
    """Numbers of every dtype keep their bits in both forms, except the quiet bit of a NaN."""
    proto = TensorProto()
    tensor_proto.encode(array, proto, as_content=as_content)

    decoded = tensor_proto.decode(TensorProto.FromString(proto.SerializeToString()))

    assert decoded.dtype == array.dtype
    assert decoded.shape == array.shape
    np.testing.assert_array_equal(decoded, array)


@given(values=st.lists(st.binary(max_size=20), min_size=1, max_size=12), as_content=st.booleans())
def test_strings_survive_the_round_trip(values, as_content):
    """Byte strings of any content are the same after encoding in both forms."""
    array = np.array(values, dtype=object).reshape(1, len(values))
    proto = TensorProto()
    tensor_proto.encode(array, proto, as_content=as_content)

    decoded = tensor_proto.decode(TensorProto.FromString(proto.SerializeToString()))

    assert decoded.shape == array.shape
    assert decoded.tolist() == [values]


def test_text_is_encoded_as_utf8():
    """A NumPy array of text is encoded as DT_STRING in UTF-8."""
    proto = TensorProto()

    tensor_proto.encode(np.array(["grün"]), proto)

    assert proto.dtype == ProtoType.DT_STRING
    assert proto.string_val == ["grün".encode()]


def test_the_last_typed_value_fills_up_the_tensor():
    """With too few typed values, the last one repeats (tensor.cc, FromProtoField)."""
    proto = tensor(ProtoType.DT_FLOAT, (2, 3), float_val=[1, 2])

    decoded = tensor_proto.decode(proto)

    assert decoded.tolist() == [[1, 2, 2], [2, 2, 2]]


def test_a_complex_value_fills_up_the_tensor():
    """Two values of scomplex_val make one complex number, which repeats."""
    proto = tensor(ProtoType.DT_COMPLEX64, (2,), scomplex_val=[1, 2])

    decoded = tensor_proto.decode(proto)

    assert decoded.tolist() == [1 + 2j, 1 + 2j]


@pytest.mark.parametrize("dtype", DataType, ids=lambda dtype: dtype.name)
def test_no_typed_values_mean_zeros(dtype):
    """A tensor without content or values is all zeros, or all empty strings."""
    decoded = tensor_proto.decode(tensor(dtype.value, (2, 2)))

    expected = b"" if dtype is DataType.DT_STRING else 0
    assert decoded.dtype == dtype.numpy
    assert bfloat16.to_floats(decoded).tolist() == [[expected, expected], [expected, expected]]


def test_half_floats_travel_as_their_bits():
    """half_val holds the 16 bits of each value, as TensorFlow has it."""
    proto = TensorProto()

    tensor_proto.encode(np.array([1.0, -2.0], np.float16), proto)

    assert list(proto.half_val) == [0x3C00, 0xC000]


def test_big_endian_arrays_are_sent_little_endian():
    """A big-endian array is encoded as little-endian bytes."""
    proto = TensorProto()

    tensor_proto.encode(np.array([1], ">i4"), proto, as_content=True)

    assert proto.tensor_content == b"\x01\0\0\0"


@pytest.mark.parametrize(
    ("proto", "message"),
    [
        (tensor(ProtoType.DT_RESOURCE, (1,)), "dtype 20 cannot be served; expected one of DT_"),
        (tensor(0, (1,)), "dtype 0 cannot be served"),
        (tensor(999, (1,)), "dtype 999 cannot be served"),
        (
            tensor(ProtoType.DT_UINT8, (1, 32, 32, 3), tensor_content=bytes(3071)),
            (
                r"tensor_content has 3071 bytes, expected 3072 for shape \(1, 32, 32, 3\) "
                "and dtype DT_UINT8"
            ),
        ),
        (tensor(ProtoType.DT_FLOAT, (-1, 2)), r"tensor_shape is \(-1, 2\)"),
        (tensor(ProtoType.DT_STRING, (1,), tensor_content=b"x"), "no tensor_content form"),
        (tensor(ProtoType.DT_FLOAT, (1 << 40,)), "takes 4398046511104 bytes, expected at most"),
        (tensor(ProtoType.DT_FLOAT, (1 << 62, 0, 1 << 62)), "and dtype DT_FLOAT takes"),
        (tensor(ProtoType.DT_FLOAT, (1,) * 65), "tensor_shape has 65 dims, expected at most 64"),
        (tensor(ProtoType.DT_FLOAT, (1 << 62,) * 10_000), "tensor_shape has 10000 dims"),
        (tensor(ProtoType.DT_FLOAT, (1 << 62, 1 << 62)), "expected at most 1073741824"),
    ],
)
def test_malformed_tensors_are_refused(proto, message):
    """A tensor that contradicts itself is refused; the message has both sides."""
    with pytest.raises(InvalidInput, match=message):
        tensor_proto.decode(proto)


@pytest.mark.parametrize(
    ("proto", "expected"),
    [
        (tensor(ProtoType.DT_FLOAT, (2,), float_val=[1, 2, 3]), [1, 2]),
        (tensor(ProtoType.DT_FLOAT, (), float_val=[1, 2, 3]), 1),
        (tensor(ProtoType.DT_STRING, (1,), string_val=[b"a", b"b"]), [b"a"]),
        (tensor(ProtoType.DT_COMPLEX64, (2,), scomplex_val=[1, 2, 3]), [1 + 2j, 1 + 2j]),
        (tensor(ProtoType.DT_COMPLEX64, (1,), scomplex_val=[1, 2, 3, 4]), [1 + 2j]),
        (tensor(ProtoType.DT_COMPLEX64, (1,), scomplex_val=[1]), [0]),
        (tensor(ProtoType.DT_FLOAT, (0, 2), float_val=[1, 2, 3]), []),
        (tensor(ProtoType.DT_FLOAT, (0, 2), tensor_content=b"123"), []),
        (tensor(ProtoType.DT_STRING, (0,), tensor_content=b"123"), []),
    ],
)
def test_surplus_values_are_ignored(proto, expected):
    """Values beyond the number of elements are ignored (tensor.cc, FromProtoField)."""
    assert tensor_proto.decode(proto).tolist() == expected


@pytest.mark.parametrize(
    ("dtype", "values", "expected"),
    [
        (ProtoType.DT_UINT8, [256, -1], [0, 255]),
        (ProtoType.DT_INT8, [128, -129], [-128, 127]),
        (ProtoType.DT_INT16, [32768, -32769], [-32768, 32767]),
        (ProtoType.DT_UINT16, [65536, -1], [0, 65535]),
    ],
)
def test_integers_wrap_around_as_in_tensorflow(dtype, values, expected):
    """A value of int_val has 32 bits, of which a narrower dtype takes the low ones."""
    assert tensor_proto.decode(tensor(dtype, (2,), int_val=values)).tolist() == expected


def test_half_floats_take_the_low_bits_of_their_field():
    """A value of half_val has 32 bits, of which the low 16 are used."""
    decoded = tensor_proto.decode(tensor(ProtoType.DT_HALF, (2,), half_val=[0x13C00, -0x4000]))

    assert decoded.tolist() == [1.0, -2.0]


def test_unknown_rank_of_a_tensor_is_ignored():
    """A tensor's rank comes from its dims; unknown_rank is ignored, as in TensorFlow.

    TensorFlow reads unknown_rank for partial shapes only.
    """
    proto = TensorProto(dtype=ProtoType.DT_FLOAT, float_val=[5])
    proto.tensor_shape.unknown_rank = True

    assert tensor_proto.decode(proto).tolist() == 5


def test_arrays_without_a_tensor_type_are_refused():
    """A datetime64 array is refused: it has no tensor type."""
    with pytest.raises(InvalidInput, match=r"dtype datetime64.* has no tensor type"):
        tensor_proto.encode(np.array(["2026-01-01"], "datetime64[D]"), TensorProto())
