import contextlib

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.errors import InvalidInput
from serving.protocols.tfs.json_text import document, reader


@pytest.mark.parametrize(
    ("body", "value"),
    [
        pytest.param(b'{"inputs": [1], "inputs": [2]}', [1], id="outermost"),
        pytest.param(b'{"inputs": [1], "\\u0069nputs": [2]}', [1], id="in-escapes"),
        pytest.param(b'{"inputs": [1], "inputs" \n: [2]}', [1], id="space-before-the-colon"),
        pytest.param(b'{"inputs": {"a": 1, "a": 2}}', {"a": 1}, id="names-of-inputs"),
        pytest.param(b'{"inputs": [{"a": 1}, {"a": 1, "a": 2}]}', [{"a": 1}] * 2, id="a-row"),
        pytest.param(b'{"inputs": [[{"a": 1, "a": 2}]]}', [[{"a": 1}]], id="deep-inside"),
        pytest.param(
            b'{"inputs": {"a": {"b": {"c": 1, "c": 2}}}}', {"a": {"b": {"c": 1}}}, id="deeper"
        ),
        pytest.param(b'{"x": "a:b", "inputs": 1, "inputs": 2}', 1, id="colon-in-a-string"),
        pytest.param(
            b'{"x": "\\":\\":", "inputs": 1, "inputs": 2}', 1, id="quote-and-colon-in-a-string"
        ),
        pytest.param(
            b'{"inputs": [{"a": 1}, [9, 9], {"a": 1, "a": 2}]}',
            [{"a": 1}, [9, 9], {"a": 1}],
            id="mixed-rows",
        ),
        pytest.param(b'\xef\xbb\xbf{"inputs": 1, "inputs": 2}', 1, id="behind-a-mark"),
    ],
)
def test_the_first_of_repeated_keys_counts(body, value):
    """Of repeated keys, the first is used at any depth, also if a key is written in escapes."""
    assert document.load(body)["inputs"] == value


TEXTS = st.text(alphabet='ab:" {}\\', max_size=4)
MEMBERS = st.deferred(
    lambda: st.lists(st.tuples(st.sampled_from(["a", "b", "a:", 'b":']), PARTS), max_size=3)
)
PARTS = st.deferred(
    lambda: st.one_of(
        st.integers(0, 3), TEXTS, st.lists(PARTS, max_size=3), MEMBERS.map(lambda m: ("object", m))
    )
)
SPACES = st.sampled_from(["", " ", "\n\t"])


def write(part, space):
    """Return JSON of a generated value; its objects may have repeated keys."""
    if isinstance(part, tuple):
        members = (f"{write(k, space)}{space}:{space}{write(v, space)}" for k, v in part[1])
        return f"{{{','.join(members)}}}"
    if isinstance(part, list):
        values = f"{space},{space}".join(write(value, space) for value in part)
        return f"[{space}{values}{space}]"
    return orjson.dumps(part).decode()


@settings(deadline=None, max_examples=500)
@given(members=MEMBERS, space=SPACES)
def test_document_reads_what_the_slow_reader_reads(members, space):
    """Any document, with or without repeated keys, is the same from both readers."""
    body = write(("object", members), space).encode()

    assert repr(document.load(body)) == repr(reader.read(body))


@pytest.mark.parametrize(
    "body",
    [
        b'{"instances": [1, 2]}',
        b'{"instances": [{"a": [1], "b": 2}, {"b": 1, "a": [2]}]}',
        b'{"signature_name": "x", "inputs": {"a": [[1]], "b": {"b64": "YQ=="}}}',
        b'{"instances": [{"b64": "YQ=="}, {"b64": "YQ=="}]}',
        b'{"instances": [{"a": {"b64": "YQ=="}}]}',
        b'{"instances": ["http://a:80/", "12:30", "x: y"]}',
        b'\xef\xbb\xbf{"instances": [1]}',
        b"[1, 2]",
    ],
)
def test_usual_requests_take_no_slow_reader(body, monkeypatch):
    """Usual requests need no slow reader, also with colons in strings or a byte order mark."""
    monkeypatch.setattr(document, "SLOW_IN_LOOP_BYTES", 0)

    document.load(body, may_be_slow=False)


@pytest.mark.parametrize(
    "body", [b'{"a": NaN}', b'{"a": 1, "a": 2}', b'{"a": "\xff"}', b"{", b"[1] x"]
)
def test_long_texts_for_the_slow_reader_are_refused_on_demand(body, monkeypatch):
    """With may_be_slow=False, long texts for the slow reader raise SlowError; short ones do not."""
    with pytest.raises(document.SlowError):
        document.load(b" " * document.SLOW_IN_LOOP_BYTES + body, may_be_slow=False)
    monkeypatch.setattr(document, "SLOW_IN_LOOP_BYTES", len(body))

    with contextlib.suppress(InvalidInput):  # one of the texts is not JSON
        document.load(body, may_be_slow=False)


@pytest.mark.parametrize("length", [0, 10_000])
def test_colons_are_counted_up_to_a_number(length):
    """In short texts and in long ones, also if one stands right beside another."""
    text = b"::" + b" " * length + b":"

    assert [document._has_at_most(text, colons) for colons in range(5)] == [
        False,
        False,
        False,
        True,
        True,
    ]
    assert document._has_at_most(b" " * length, 0)
