import json
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.errors import InvalidInput
from serving.protocols.tfs.json_text import pretty


def strings(*values: object) -> np.ndarray:
    return np.array([*values, None], object)[:-1]


FLOATS = np.array([[9000000, 999999, 0.5], [0.0003, 0.00003, 555557.5]], np.float32)
INTEGERS = np.array([[[1, 2], [3, 4]], [[5, 6], [7, 8]]], np.int32)


@pytest.mark.parametrize(
    ("outputs", "written"),
    [
        pytest.param(
            {"y": np.array([2.5, 3, 4.5], np.float32)},
            '{\n    "predictions": [2.5, 3.0, 4.5\n    ]\n}',
            id="scalars",
        ),
        pytest.param(
            {"y": FLOATS},
            '{\n    "predictions": [[9e+06, 999999.0, 0.5], [0.0003, 3e-05, 555557.5]\n    ]\n}',
            id="six-digits",
        ),
        pytest.param(
            {"y": INTEGERS},
            '{\n    "predictions": [[[1, 2], [3, 4]], [[5, 6], [7, 8]]\n    ]\n}',
            id="three-dimensions",
        ),
        pytest.param(
            {"y": np.array([[np.nan, np.inf], [3, -np.inf]], np.float32)},
            '{\n    "predictions": [[NaN, Infinity], [3.0, -Infinity]\n    ]\n}',
            id="non-finite",
        ),
        pytest.param({"y": np.zeros((0, 2))}, '{\n    "predictions": []\n}', id="no-rows"),
        pytest.param(
            {"a": np.zeros((0, 2)), "b": np.zeros(0)},
            '{\n    "predictions": []\n}',
            id="no-rows-of-two",
        ),
        pytest.param(
            {"a": np.array([8.0, 9.0]), "b": np.array([[1, 2], [3, 4]])},
            '{\n    "predictions": [\n        {\n            "a": 8.0,\n            "b": [1, 2]\n'
            '        },\n        {\n            "a": 9.0,\n            "b": [3, 4]\n        }\n'
            "    ]\n}",
            id="objects",
        ),
        pytest.param(
            {"t": strings(b"foo", b'"\n\x01\xff')},
            '{\n    "predictions": ["foo", "\\"\\n\\u0001\udcff"\n    ]\n}',
            id="strings",
        ),
        pytest.param(
            {"t_bytes": strings(b"hello")},
            '{\n    "predictions": [{\n            "b64": "aGVsbG8="\n        }\n    ]\n}',
            id="base64",
        ),
        pytest.param(
            {"a": np.array([1]), "t_bytes": strings(b"a")},
            (
                '{\n    "predictions": [\n        {\n            "a": 1,\n'
                '            "t_bytes": {\n                "b64": "YQ=="\n            }\n'
                "        }\n    ]\n}"
            ),
            id="base64-in-objects",
        ),
        pytest.param(
            {"y": np.array([True, False])},
            '{\n    "predictions": [true, false\n    ]\n}',
            id="bool",
        ),
    ],
)
def test_rows_have_tensorflow_servings_layout(outputs, written):
    """Rows have TensorFlow Serving's bytes: a row is on one line, the last "]" on its own."""
    answer = pretty.rows(outputs, {alias for alias in outputs if alias.endswith("_bytes")})

    assert answer == written.encode("utf-8", "surrogateescape")


@pytest.mark.parametrize(
    ("outputs", "written"),
    [
        pytest.param({"y": np.array(0.1, np.float32)}, '{\n    "outputs": 0.1\n}', id="scalar"),
        pytest.param(
            {"y": np.array([[1], [2]], np.uint8)},
            '{\n    "outputs": [\n        [\n            1\n        ],\n        [\n            2\n'
            "        ]\n    ]\n}",
            id="matrix",
        ),
        pytest.param(
            {"y": np.zeros((2, 0))},
            '{\n    "outputs": [\n        [],\n        []\n    ]\n}',
            id="empty",
        ),
        pytest.param(
            {"a": np.array([1.0]), "t_bytes": strings(b"a")},
            '{\n    "outputs": {\n        "a": [\n            1.0\n        ],\n'
            '        "t_bytes": [\n'
            '            {\n                "b64": "YQ=="\n            }\n        ]\n    }\n}',
            id="two",
        ),
    ],
)
def test_columns_have_a_value_a_line(outputs, written):
    """Columns have one value a line, as RapidJSON writes without options."""
    answer = pretty.columns(outputs, {alias for alias in outputs if alias.endswith("_bytes")})

    assert answer == written.encode()


def test_results_are_laid_out_as_rows():
    """Results are on one line: lists of [class, score] pairs, or the values of a regression."""
    assert pretty.classes([["car", "bike"], ["bus", "é"]], [[0.2, 0.7], [1, 0.1]]).decode() == (
        '{\n    "results": [[["car", 0.2], ["bike", 0.7]], [["bus", 1.0], ["é", 0.1]]\n    ]\n}'
    )
    assert pretty.values([0.2, 1.0, float("inf"), float("nan")]) == (
        b'{\n    "results": [0.2, 1.0, Infinity, NaN]\n}'
    )
    assert pretty.values([1 / 3]) == b'{\n    "results": [0.333333343]\n}'
    assert b'["car", 0.333333343]' in pretty.classes([["car"]], [[1 / 3]])


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (np.float32(0.1), b"0.1"),
        (np.float32(1 / 3), b"0.333333343"),
        (np.float64(1 / 3), b"0.33333333333333331"),
        (np.float64(0.1), b"0.1"),
        (np.float32(16777216), b"16777216.0"),
        (np.float32(1e6), b"1e+06"),
        (np.float32(123456), b"123456.0"),
        (np.float32(-0.0), b"-0.0"),
        (np.float32(1e-45), b"1.4013e-45"),
    ],
)
def test_numbers_have_six_digits_or_all(value, written):
    """Numbers have six digits if these are exact, else as many as the dtype ever needs."""
    assert pretty.numbers(np.array([value])) == [written]


@settings(deadline=None)
@given(value=st.floats(width=32, allow_nan=False) | st.floats(allow_nan=False))
def test_a_number_reads_back_bit_by_bit(value):
    """A written number is read back as the same bits in its own precision."""
    for scalar in (np.float64(value), np.float32(value) if abs(value) < 1e38 else np.float64(1)):
        written = json.loads(pretty.numbers(np.array([scalar]))[0])

        assert type(scalar)(written) == scalar
        assert isinstance(written, float)


@given(content=st.binary(max_size=30))
def test_a_written_string_keeps_its_bytes(content):
    """A string is written with escapes where JSON demands them; all other bytes are unchanged."""
    inside = pretty.string(content)[1:-1]
    text = json.loads(b'"%b"' % re.sub(rb"[\x80-\xff]", b"?", inside))

    assert text.encode() == re.sub(rb"[\x80-\xff]", b"?", content)
    assert [c for c in inside if c > 127] == [c for c in content if c > 127]


def test_complex_numbers_have_no_form():
    """Complex numbers are refused with TensorFlow Serving's message and the output's name."""
    with pytest.raises(InvalidInput, match="for tensor type: complex64 of output y"):
        pretty.rows({"y": np.zeros(1, np.complex64)})


def test_strings_may_be_text_or_bytes():
    """Text is written in UTF-8, bytes as they are."""
    mixed = np.array(["é", b"\xff"], object)

    assert pretty.columns({"s": mixed}) == (
        b'{\n    "outputs": [\n        "\xc3\xa9",\n        "\xff"\n    ]\n}'
    )
    assert pretty.columns({"s": np.array(["é"])}) == (
        b'{\n    "outputs": [\n        "\xc3\xa9"\n    ]\n}'
    )
