import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from serving.errors import InvalidInput
from serving.protocols.kserve import json_tensors

NUMBERS = {
    "BOOL": np.bool_,
    "UINT8": np.uint8,
    "UINT64": np.uint64,
    "INT8": np.int8,
    "INT64": np.int64,
    "FP16": np.float16,
    "FP32": np.float32,
    "FP64": np.float64,
}
SHAPES = hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=4)


@given(data=st.data(), datatype=st.sampled_from(sorted(NUMBERS)))
def test_numbers_survive_json_exactly(data, datatype):
    """Numbers, flat or nested, are the same after a round trip through JSON, NaN and -0.0 too."""
    array = data.draw(hnp.arrays(NUMBERS[datatype], data.draw(SHAPES)))
    flat = json.loads(json.dumps(json_tensors.encode(array)))
    nested = json.loads(json.dumps(array.tolist()))

    for form in (flat, nested):
        decoded = json_tensors.decode(datatype, array.shape, form)

        assert decoded.dtype == array.dtype
        assert decoded.shape == array.shape
        # A NaN stays NaN without its sign and payload, which have no text form; others keep their
        # bits.
        np.testing.assert_array_equal(np.isnan(decoded), np.isnan(array))
        assert decoded[~np.isnan(array)].tobytes() == array[~np.isnan(array)].tobytes()


@given(texts=st.lists(st.text(st.characters(codec="utf-8"), max_size=9), max_size=9))
def test_text_survives_json(texts):
    """Strings are decoded to UTF-8 bytes and encoded to the same strings."""
    decoded = json_tensors.decode("BYTES", [len(texts)], texts)

    assert decoded.tolist() == [text.encode() for text in texts]
    assert json_tensors.encode(decoded) == texts


def test_integers_are_fine_as_floats():
    """Integers are accepted for float datatypes: JSON writers may write 1.0 as 1."""
    decoded = json_tensors.decode("FP32", [3], [1, 2.5, -3])

    assert decoded.dtype == np.float32
    assert decoded.tolist() == [1, 2.5, -3]


def test_bytes_that_are_no_text_have_no_json_form():
    """Bytes that are not UTF-8 are refused; the message names the way out, binary data."""
    with pytest.raises(InvalidInput, match=r"not UTF-8 text .* the parameter binary_data true"):
        json_tensors.encode(np.array([b"\xff"], dtype=object))


@pytest.mark.parametrize(
    ("datatype", "shape", "data", "message"),
    [
        ("FP31", [1], [1], "datatype 'FP31' is unknown; expected one of BOOL"),
        ("FP32", [-1], [1], r"shape is \(-1,\)"),
        ("FP32", [1], 5, "data is integer, expected a list"),
        (
            "FP32",
            [2, 2],
            [1, 2, 3],
            r"data has 3 elements, expected 4 for shape \(2, 2\) and datatype FP32",
        ),
        (
            "FP32",
            [2, 2],
            [[1, 2], [3]],
            r"data has 1 elements at depth 2 of its nesting, expected a list of 2 for shape \(2, ",
        ),
        ("FP32", [2, 2], [[1, 2], [3, 4], [5, 6]], "data has 3 elements at depth 1"),
        ("FP32", [2, 2], [[1, 2], 3], "data has integer at depth 2 of its nesting"),
        ("FP32", [2], [[1], [2]], "data has list elements, expected fraction or integer"),
        ("FP32", [3], ["1", None, True], "data has boolean, null, string elements, expected"),
        ("INT8", [1], [1.0], "data has fraction elements, expected integer for datatype INT8"),
        ("INT8", [1], [True], "data has boolean elements"),
        ("BOOL", [1], [1], "data has integer elements, expected boolean"),
        ("BYTES", [1], [{}], "data has object elements, expected string"),
        ("BYTES", [1], ["\ud800"], "not Unicode text: surrogates not allowed; send BYTES"),
        ("UINT8", [2], [256, 1], "data has values from 1 to 256, expected 0 to 255"),
        ("UINT64", [1], [-1], "data has values from -1 to -1, expected 0 to 18446744073709551615"),
        ("INT64", [1], [1 << 63], "expected -9223372036854775808 to 9223372036854775807"),
        ("FP32", [1], [1e39], r"data has values from 1e\+39 to 1e\+39, expected -3.40"),
        ("FP16", [1], [65520.0], "expected -65504.0 to 65504.0 for datatype FP16"),
        ("FP64", [1], [10**400], "expected -1.797"),
    ],
)
def test_malformed_data_is_refused(datatype, shape, data, message):
    """Elements of the wrong kind, number, nesting or range are refused with both sides named."""
    with pytest.raises(InvalidInput, match=message):
        json_tensors.decode(datatype, shape, data)
