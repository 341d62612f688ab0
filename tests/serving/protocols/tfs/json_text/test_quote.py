import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.protocols.tfs.json_text import quote, reader


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ([1, 2.5, True, None, "a"], '[1, 2.5, true, null, "a"]'),
        ({}, "{}"),
        ({"a": 1, "b": []}, '{\n    "a": 1,\n    "b": []\n}'),
        ({"a": [{"b": 1}]}, '{\n    "a": [{\n            "b": 1\n        }]\n}'),
        ('\x1f\n"\\/é', '"\\u001F\\n\\"\\\\/é"'),
        ("\udcff", '"�"'),
        (1e21, "1e21"),
        (-1.5e-7, "-1.5e-7"),
        (1e-6, "0.000001"),
        (1.25e-5, "0.0000125"),
        (1e20, "100000000000000000000.0"),
        (1e308, "1e308"),
    ],
)
def test_values_are_laid_out_as_tensorflow_serving_quotes_them(value, text):
    """Values are quoted with lists on one line, objects on several, and RapidJSON's numbers."""
    assert quote.text(value) == text


@pytest.mark.parametrize("value", ["x" * 10**6, ["x"] * 10**6, {"x" * 10**6: 1}, list(range(1000))])
def test_long_values_are_cut(value):
    """A quoted value of a megabyte is cut to MAX_QUOTED characters."""
    assert len(quote.text(value)) <= quote.MAX_QUOTED + len("...")
    assert quote.text(value).endswith("...")


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_deep_values_are_cut(opening):
    """A deeply nested value is cut without recursion."""
    closing = b"]" if opening == b"[" else b"}"
    value = reader.read(opening * 100_000 + b"0" + closing * 100_000)

    assert len(quote.text(value)) <= quote.MAX_QUOTED + len("...")


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_quoted_number_is_the_number(value):
    """A quoted number is read back as the same number."""
    assert json.loads(quote.text(value)) == value


@pytest.mark.parametrize(
    ("value", "name"),
    [(None, "Null"), (True, "True"), (False, "False"), (1, "Number"), (1.5, "Number")],
)
def test_types_have_rapidjsons_names(value, name):
    """Types have RapidJSON's names, which are "True" and "False" for booleans."""
    assert quote.type_name(value) == name
