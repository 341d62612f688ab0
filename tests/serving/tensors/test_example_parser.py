import time

import numpy as np
import pytest
from hypothesis import example as explicit_example
from hypothesis import given, settings
from hypothesis import strategies as st
from sample_models import example_models
from sample_models.example_models import example

from serving.errors import DeadlineExceeded, InvalidInput
from serving.tensors.example_parser import ExampleParser
from serving.tensors.feature_spec import FeatureKind, FeatureSpec
from serving.tensors.signature import DataType

FLOAT, INT64, STRING = DataType.DT_FLOAT, DataType.DT_INT64, DataType.DT_STRING
VARIABLE = FeatureKind.VARIABLE


def feature(dtype, *shape, kind=FeatureKind.FIXED, default=None, key="x"):
    tensor = example_models.spec(dtype, -1, *shape, tensor=key)
    return FeatureSpec(tensor=tensor, key=key, kind=kind, default=default)


def parse(spec, *examples):
    """Return the array that examples give for one feature."""
    return ExampleParser({"alias": spec}).parse(examples)["alias"]


IMAGE = FeatureSpec(
    tensor=example_models.spec(DataType.DT_UINT8, -1, 1, 1, 3, tensor="images"),
    key="image",
    kind=FeatureKind.IMAGE,
)


def test_fixed_features_have_the_shape_of_the_spec():
    """Each example fills one row, its values in order; a scalar feature gives shape (batch,)."""
    array = parse(feature(FLOAT, 2, 2), example(x=[1.0, 2.0, 3.0, 4.0]), example(x=[0.5] * 4))

    assert array.dtype == np.float32
    assert array.tolist() == [[[1, 2], [3, 4]], [[0.5, 0.5], [0.5, 0.5]]]
    assert parse(feature(INT64), example(x=[-7]), example(x=[1 << 40])).tolist() == [-7, 1 << 40]
    assert parse(feature(STRING, 2), example(x=[b"a", b"\xff"])).tolist() == [[b"a", b"\xff"]]


def test_defaults_stand_in_for_missing_features():
    """A default replaces a feature that is missing or has no kind; present features are kept."""
    spec = feature(INT64, 2, default=(7, 8))

    assert parse(spec, example(), example(x=[1, 2])).tolist() == [[7, 8], [1, 2]]


def test_variable_features_are_padded_to_the_longest():
    """Variable features are padded with the default, or with zeros, to the longest example.

    If no example has the feature, the padded dimension has size 0.
    """
    examples = [example(x=[1.0, 2.0]), example(), example(x=[3.0])]

    assert parse(feature(FLOAT, -1, kind=VARIABLE, default=(-1.0,)), *examples).tolist() == [
        [1, 2],
        [-1, -1],
        [3, -1],
    ]
    assert parse(feature(FLOAT, -1, kind=VARIABLE), *examples)[1].tolist() == [0, 0]
    assert parse(feature(STRING, -1, kind=VARIABLE), example(), example(x=[b"a"])).tolist() == [
        [b""],
        [b"a"],
    ]
    assert parse(feature(INT64, -1, 3, kind=VARIABLE), example()).shape == (1, 0, 3)


def test_unused_features_are_checked_but_not_returned():
    """A feature that the graph does not use must be in each example, as in TensorFlow.

    It is checked, but not returned.
    """
    unused = FeatureSpec(tensor=example_models.spec(FLOAT, -1, 2), key="u")
    parser = ExampleParser({"alias": feature(FLOAT, 1), "u": unused})

    assert list(parser.parse([example(x=[1.0], u=[1.0, 2.0])])) == ["alias"]
    with pytest.raises(InvalidInput, match="Feature: u"):
        parser.parse([example(x=[1.0])])


@pytest.mark.parametrize(
    ("spec", "examples", "message"),
    [
        (
            feature(FLOAT, 2),
            [example()],
            "Name: <unknown>, Feature: x (data type: float) is required but could not be found.",
        ),
        (
            feature(FLOAT, 2),
            [example(x=[1.0, 2.0]), example(x=[1, 2])],
            (
                "Name: <unknown>, Key: x, Index: 1.  Data types don't match. "
                "Data type: int64 but expected type: float"
            ),
        ),
        (
            feature(STRING),
            [example(x=[1.0])],
            (
                "Name: <unknown>, Key: x, Index: 0.  Data types don't match. "
                "Data type: float but expected type: string"
            ),
        ),
        (
            feature(FLOAT, 2, 3),
            [example(x=[1.0])],
            (
                "Name: <unknown>, Key: x, Index: 0.  Number of float values != expected.  "
                "Values size: 1 but output shape: [2,3]"
            ),
        ),
        (
            feature(STRING),
            [example(x=[b"a", b"b"])],
            (
                "Name: <unknown>, Key: x, Index: 0.  Number of bytes values != expected.  "
                "Values size: 2 but output shape: []"
            ),
        ),
        (
            feature(INT64, -1, 2, kind=VARIABLE),
            [example(x=[1, 2, 3])],
            (
                "Name: <unknown>, Key: x, Index: 0.  Number of int64 values is not a multiple of "
                "stride length. Saw 3 values but output shape is: [?,2]"
            ),
        ),
        (
            feature(FLOAT),
            [b"\xff" * 100],
            rf"Could not parse example input, value: '{chr(92)}xff",
        ),
        (
            IMAGE,
            [example(x=[1.0])],
            (
                "Name: <unknown>, Feature: image/encoded (data type: string) is required but could "
                "not be found. Send a PNG or JPEG file in it, or raw pixels in image/raw"
            ),
        ),
        (
            IMAGE,
            [example(image__raw=b"", image__encoded=b"")],
            "Name: <unknown>, Feature: image/encoded",
        ),
        (
            IMAGE,
            [example(image__raw=b"abc", image__encoded=b"x")],
            "Name: <unknown>, Key: image/raw, Index: 0.  image/encoded is given too",
        ),
        (
            IMAGE,
            [example(image__raw=b"abc"), example(image__raw=b"ab")],
            "Name: <unknown>, Key: image/raw, Index: 1.  raw image has 2 bytes, expected 3",
        ),
        (
            IMAGE,
            [example(image__raw=[1, 2, 3])],
            (
                "Name: <unknown>, Key: image/raw, Index: 0.  Data types don't match. "
                "Data type: int64 but expected type: string"
            ),
        ),
        (
            IMAGE,
            [example(image__raw=[b"abc", b"abc"])],
            "Name: <unknown>, Key: image/raw, Index: 0.  Number of bytes values != expected.",
        ),
    ],
    ids=lambda value: None,
)
def test_refusals_are_tensorflows(spec, examples, message):
    """Errors have the texts of example_proto_fast_parsing.cc; those of pictures have its style."""
    with pytest.raises(InvalidInput) as caught:
        parse(spec, *examples)

    assert caught.value.message.startswith(message)


def test_small_requests_cannot_ask_for_much_memory():
    """Defaults, padding and pictures that would take more than 1 GiB are INVALID_ARGUMENT."""
    long = feature(FLOAT, 1 << 20, default=(0.0,) * (1 << 20))
    wide = feature(STRING, -1, kind=VARIABLE)
    picture = FeatureSpec(
        tensor=example_models.spec(DataType.DT_UINT8, -1, 1024, 1024, 3, tensor="images"),
        key="image",
        kind=FeatureKind.IMAGE,
    )

    for spec, examples in (
        (long, [example()] * 300),
        (wide, [example(x=[b""] * 50_000), *[example()] * 3000]),
        (picture, [example()] * 400),
    ):
        with pytest.raises(InvalidInput, match=r"takes \d+ bytes, expected at most 1073741824"):
            parse(spec, *examples)


def test_a_passed_deadline_stops_between_examples():
    """After the deadline no further example is parsed; the message has the count parsed by then."""
    with pytest.raises(DeadlineExceeded, match="after 0 of 2 examples"):
        ExampleParser({"x": feature(FLOAT)}).parse([b"", b""], deadline=time.monotonic() - 1)


def test_only_small_requests_without_pictures_are_quick():
    """Requests of a few KiB without pictures are quick; others do not run in the event loop."""
    small = ExampleParser({"x": feature(FLOAT)})

    assert small.is_quick([b"x" * 1000])
    assert not small.is_quick([b"x" * 1000] * 17)
    assert not ExampleParser({"images": IMAGE}).is_quick([b"x"])


VALUES = st.one_of(
    st.lists(st.floats(width=32, allow_nan=False), max_size=5),
    st.lists(st.integers(-(1 << 63), (1 << 63) - 1), max_size=5),
    st.lists(st.binary(max_size=3), max_size=5),
)
EXAMPLES = st.lists(
    st.dictionaries(st.sampled_from(["a", "b", "other"]), VALUES, max_size=3),
    min_size=1,
    max_size=4,
)
DTYPES = st.sampled_from([FLOAT, INT64, STRING])


@st.composite
def feature_specs(draw, key):
    """Draw a fixed or variable spec; TensorFlow has a counterpart for both."""
    dtype = draw(DTYPES)
    inner = draw(st.lists(st.integers(1, 2), max_size=2))
    one = {FLOAT: -1.5, INT64: 9, STRING: b"d"}[dtype]
    if draw(st.booleans()):
        default = draw(st.sampled_from([None, (one,)]))
        return feature(dtype, -1, *inner, kind=VARIABLE, default=default, key=key)
    default = draw(st.sampled_from([None, (one,) * int(np.prod(inner, dtype=int))]))
    return feature(dtype, *inner, default=default, key=key)


def parse_with_tensorflow(specs, serialized):
    """Return the arrays of tf.io.parse_example, or None if TensorFlow refuses."""
    import tensorflow as tf  # noqa: PLC0415 - takes seconds, which other tests save

    features = {}
    for spec in specs:
        dtype = tf.dtypes.as_dtype(spec.tensor.dtype.value)
        if spec.kind is VARIABLE:
            default = spec.default[0] if spec.default else None
            features[spec.key] = tf.io.FixedLenSequenceFeature(
                spec.row_shape[1:], dtype, allow_missing=True, default_value=default
            )
        else:
            default = spec.default
            if default is not None:
                default = np.array(default, spec.tensor.numpy_dtype).reshape(spec.row_shape)
            features[spec.key] = tf.io.FixedLenFeature(spec.row_shape, dtype, default)
    try:
        parsed = tf.io.parse_example(tf.constant(serialized, tf.string), features)
    except (tf.errors.InvalidArgumentError, UnicodeDecodeError):
        # TensorFlow's message quotes the refused bytes, and Python may fail to decode the quote.
        return None
    return {key: tensor.numpy() for key, tensor in parsed.items()}


@settings(deadline=None, max_examples=150)
@given(specs=st.tuples(feature_specs("a"), feature_specs("b")), examples=EXAMPLES)
@explicit_example(
    specs=(feature(FLOAT, 1, key="a"), feature(STRING, -1, kind=VARIABLE, key="b")),
    examples=[{"a": [1.0], "b": [b"x", b"y"]}, {"a": [2.0]}],
)
def test_every_example_is_parsed_as_by_tensorflow(specs, examples):
    """For random specs and examples, both parsers refuse, or both return the same arrays."""
    serialized = [example(**features) for features in examples]
    theirs = parse_with_tensorflow(specs, serialized)

    try:
        ours = ExampleParser({spec.key: spec for spec in specs}).parse(serialized)
    except InvalidInput:
        ours = None

    assert (ours is None) == (theirs is None)
    for key in ours or {}:
        assert ours[key].dtype == theirs[key].dtype
        np.testing.assert_array_equal(ours[key], theirs[key])


@settings(deadline=None, max_examples=150)
@given(changes=st.lists(st.tuples(st.integers(0, 40), st.integers(0, 127)), max_size=4))
@explicit_example(changes=[(0, 1), (26, 1), (27, 1)])
def test_damaged_examples_are_refused_as_by_tensorflow(changes):
    """For an example with changed bytes, the parser raises no other error than InvalidInput.

    If both parsers accept the example, they return the same values.
    """
    spec = feature(FLOAT, 2)
    damaged = bytearray(example(x=[1.0, 2.0], y=[1, 2]))
    for position, value in changes:
        if position < len(damaged):
            damaged[position] = value
    theirs = parse_with_tensorflow([spec], [bytes(damaged)])

    try:
        ours = parse(spec, bytes(damaged))
    except InvalidInput:
        ours = None

    if ours is not None and theirs is not None:
        np.testing.assert_array_equal(ours, theirs["x"])
