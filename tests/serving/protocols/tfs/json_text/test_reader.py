import math

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.errors import InvalidInput
from serving.protocols.tfs.json_text import reader


@pytest.mark.parametrize(
    ("text", "value"),
    [
        pytest.param(b'{"a": 1, "a": 2}', {"a": 1}, id="first-of-repeated-keys"),
        pytest.param(b'{"a": 1, "\\u0061": 2}', {"a": 1}, id="repeated-key-in-escapes"),
        pytest.param(b'[{"a": 1, "a": [3]}]', [{"a": 1}], id="repeated-inside"),
        pytest.param(b"[Inf, -Inf, Infinity, -Infinity]", [math.inf, -math.inf] * 2, id="inf"),
        pytest.param(b"\xef\xbb\xbf [1]", [1], id="byte-order-mark"),
        pytest.param(b"\xef{}", {}, id="part-of-a-mark"),
        pytest.param(b'{"a": 1} and more }', {"a": 1}, id="text-behind"),
        pytest.param(b"[1]\0[2]", [1], id="zero-byte-behind"),
        pytest.param(b"12 34", 12, id="number-and-text-behind"),
        pytest.param(b'"\xff\x00"'.replace(b"\x00", b"\xfe"), "\udcff\udcfe", id="not-utf-8"),
        pytest.param(b'"\\u00e9\xe9"', "é\udce9", id="utf-8-and-latin-1"),
        pytest.param(b'"\\udc80"', "\udced\udcb2\udc80", id="low-surrogate-alone"),
        pytest.param(b'"\\ud83d\\ude00\xff"', "😀\udcff", id="surrogate-pair"),
        pytest.param(
            b'"\\"\\\\\\/\\b\\f\\n\\r\\t\\u0000\xff"', '"\\/\b\f\n\r\t\0\udcff', id="escapes"
        ),
        pytest.param(b"-0", 0, id="minus-zero"),
        pytest.param(b"18446744073709551615", 2**64 - 1, id="largest-integer"),
        pytest.param(b"18446744073709551616", 2.0**64, id="integer-beyond"),
        pytest.param(b"-9223372036854775808", -(2**63), id="smallest-integer"),
        pytest.param(b"-9223372036854775809", -(2.0**63), id="integer-below"),
        pytest.param(b"1" * 309, float("1" * 309), id="309-digits"),
        pytest.param(b"100e307", math.inf, id="infinite-after-all"),
        pytest.param(b"0.1e309", 1e308, id="exponent-and-fraction"),
        pytest.param(b"0.001e310", 1e307, id="exponent-and-zeros"),
        pytest.param(b"[1e-999, 1e-99999999999]", [0.0, 0.0], id="too-small"),
        pytest.param(b"[1,\t2.5 ,\r\n1E2, Inf]", [1, 2.5, 100.0, math.inf], id="flat-list"),
        pytest.param(
            b"[true, null, [false, [], {}, Inf]]",
            [True, None, [False, [], {}, math.inf]],
            id="words",
        ),
        pytest.param(b' { "a" : { } , "b" : [ ] } ', {"a": {}, "b": []}, id="space"),
    ],
)
def test_rapidjsons_rules_count(text, value):
    """Texts beyond JSON that TensorFlow Serving's RapidJSON reads are read the same."""
    assert reader.read(text) == value


def test_nan_is_a_number_with_either_sign():
    """NaN and -NaN are read, alone and in a list."""
    assert all(math.isnan(number) for number in reader.read(b"[NaN, -NaN]"))
    assert math.isnan(reader.read(b"NaN"))


def test_inner_objects_may_keep_the_last_of_repeated_keys():
    """With last_inside, inner objects use the last of repeated keys, the outermost the first.

    Features of an example are read this way.
    """
    text = b'{"a": {"b": 1, "b": 2}, "a": 3}'

    assert reader.read(text, last_inside=True) == {"a": {"b": 2}}


@pytest.mark.parametrize(
    ("text", "reason", "offset"),
    [
        (b"", "The document is empty.", 0),
        (b" \n", "The document is empty.", 2),
        (b"\xef\xbb\xbf ", "The document is empty.", 4),
        (b"]", "The document is empty.", 0),
        (b"{", "Missing a name for object member.", 1),
        (b"{a", "Missing a name for object member.", 1),
        (b'{"a": 1,}', "Missing a name for object member.", 8),
        (b'{"a" 1}', "Missing a colon after a name of object member.", 5),
        (b'{"a": 1', "Missing a comma or '}' after an object member.", 7),
        (b'{"a": 1]', "Missing a comma or '}' after an object member.", 7),
        (b"[1 2]", "Missing a comma or ']' after an array element.", 3),
        (b"[[1]", "Missing a comma or ']' after an array element.", 4),
        (b"[01]", "Missing a comma or ']' after an array element.", 2),
        (b"[1\0]", "Missing a comma or ']' after an array element.", 2),
        (b"[1,]", "Invalid value.", 3),
        (b'{"a":}', "Invalid value.", 5),
        (b"[", "Invalid value.", 1),
        (b"hello", "Invalid value.", 0),
        (b"[nul]", "Invalid value.", 4),
        (b"[tru", "Invalid value.", 4),
        (b"[-x]", "Invalid value.", 2),
        (b"[Nax]", "Invalid value.", 3),
        (b"[Infin]", "Invalid value.", 6),
        (b"[+1]", "Invalid value.", 1),
        (b"[1.]", "Miss fraction part in number.", 3),
        (b"[1.e5]", "Miss fraction part in number.", 3),
        (b"[1e]", "Miss exponent in number.", 3),
        (b"[1.5e-]", "Miss exponent in number.", 6),
        (b"[1, 1e309]", "Number too big to be stored in double.", 4),
        (b"[-0.1e310]", "Number too big to be stored in double.", 1),
        (b"1" * 310, "Number too big to be stored in double.", 0),
        (b'["a', "Missing a closing quotation mark in string.", 3),
        (b'["a\0"]', "Missing a closing quotation mark in string.", 3),
        (b'["a\n"]', "Invalid escape character in string.", 3),
        (b'["a\\x"]', "Invalid escape character in string.", 3),
        (b'["\\u12x4"]', r"Incorrect hex digit after \u escape in string.", 2),
        (b'["\\ud800"]', "The surrogate pair in string is invalid.", 2),
        (b'["\\ud800\\u0041"]', "The surrogate pair in string is invalid.", 2),
    ],
)
def test_mistakes_have_rapidjsons_texts_and_offsets(text, reason, offset):
    """Errors have RapidJSON's texts and offsets after `JSON Parse error: `."""
    with pytest.raises(InvalidInput) as caught:
        reader.read(text)

    assert caught.value.message == f"JSON Parse error: {reason} at offset: {offset}"


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=20,
)
OPTIONS = [0, orjson.OPT_INDENT_2]


@settings(deadline=None)
@given(value=VALUES, option=st.sampled_from(OPTIONS))
def test_both_readers_read_json_alike(value, option):
    """Any JSON without repeated keys is the same value, type by type, as with orjson."""
    text = orjson.dumps(value, option=option)

    assert repr(reader.read(text)) == repr(orjson.loads(text))


@settings(deadline=None)
@given(text=st.text(alphabet='{}[]",:\\ \n-+.0129eEuInfatyNrls"é', max_size=30).map(str.encode))
def test_the_slow_reader_reads_every_text_that_orjson_reads(text):
    """Any text is read or refused; the slow reader refuses none that orjson reads."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        value = None
        refused = InvalidInput
    else:
        refused = ()
    try:
        read = reader.read(text)
    except refused:
        return

    if refused == ():
        # The values of repeated keys differ between the readers.
        assert type(read) is type(value)


@given(
    content=st.binary(max_size=20).filter(
        lambda c: not set(c) & set(b'"\\') and min(c, default=32) > 31
    )
)
def test_a_string_keeps_its_bytes(content):
    """A string keeps its bytes, in whatever encoding."""
    read = reader.read(b'["%b"]' % content)

    assert read[0].encode("utf-8", "surrogateescape") == content


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'[1,{"a":[2,'])
def test_any_depth_is_read(opening):
    """150,000 levels of nesting are read without recursion."""
    depth = 150_000 // sum(map(opening.count, (b"[", b"{")))
    closing = opening.translate(bytes.maketrans(b"[{", b"]}"), b'1"a:2,')[::-1]

    value = reader.read(opening * depth + b"0" + closing * depth)

    levels = 0
    while type(value) in {list, dict}:
        value = value["a"] if type(value) is dict else value[-1]
        levels += 1
    assert levels == depth * opening.count(b"[") + depth * opening.count(b"{")


def test_no_value_is_nested_without_end():
    """More than 512,000 levels are refused: a bracket of one byte takes 100 bytes of memory."""
    deep = b"[" * 512_000 + b"{}" + b"]" * 512_000

    value = reader.read(deep)
    with pytest.raises(InvalidInput, match="Nested deeper than 512000 levels"):
        reader.read(b"[" + deep + b"]")

    assert len(value) == 1


def test_what_is_nested_too_deep_is_found_at_its_offset(monkeypatch):
    """A list counts from its first element on, an object from its first key on."""
    monkeypatch.setattr(reader, "_MAX_DEPTH", 2)

    assert reader.read(b"[[ [] ]]") == [[[]]]
    with pytest.raises(InvalidInput, match=r"Nested deeper than 2 levels.* at offset: 17$"):
        reader.read(b'{"a":{"b":  {"c":1}}}')


def test_leading_zeros_of_an_exponent_do_not_make_it_long():
    """Neither with a sign nor without one; an exponent of nothing else is 0."""
    text = b'{"a": 1e+0000000000001, "b": 2e000000000002, "c": 3E+00000000000, "d": 4e-0000000001}'

    assert reader.read(text) == {"a": 10.0, "b": 200.0, "c": 3.0, "d": 0.4}
