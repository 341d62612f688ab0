import json

import numpy as np
import pytest

from export.sources.labelled_data import LabelledData
from loadtest.rows import array_files
from loadtest.settings.config import UsageError
from loadtest.transports.api import ModelInput

X = ModelInput("x", "float32", (-1, 2))
TEXT = ModelInput("t", "string", (-1,))


@pytest.fixture
def lines(tmp_path):
    def write(*rows: object) -> array_files.FileRows:
        path = tmp_path / "rows.jsonl"
        texts = (row if isinstance(row, str) else json.dumps(row) for row in rows)
        path.write_text("\n".join(texts) + "\n")
        return array_files.read_json_lines(path)

    return write


@pytest.fixture
def archive(tmp_path):
    def write(*arrays: object, **named: object) -> array_files.FileRows:
        path = tmp_path / "rows.npz"
        np.savez(path, *arrays, **named)
        return array_files.read_archive(path)

    return write


def fit(source, *inputs, batch=1):
    return source.fit(inputs, model="m", batch=batch)


def test_an_archive_has_inputs_labels_and_recorded_answers(archive):
    """`labels` and `answers` are no inputs, and names after `outputs/` are recorded outputs."""
    rows = archive(
        x=np.ones((3, 2)),
        labels=np.array([2, 1, 0], np.uint8),
        answers=np.array([2, 1, 1]),
        **{"outputs/y": np.zeros((3, 4))},
    )

    dataset = fit(rows, X)

    assert (len(rows), rows.noun, dataset.unit) == (3, "rows of rows.npz", "rows")
    assert list(dataset.arrays) == ["x"]
    assert dataset.labels.tolist() == [2, 1, 0]
    assert dataset.classes.tolist() == [2, 1, 1]
    assert dataset.outputs["y"].shape == (3, 4)


def test_an_input_named_labels_is_an_input(archive):
    """If the model takes an input `labels`, the array is sent and nothing is scored."""
    dataset = fit(archive(labels=np.arange(3)), ModelInput("labels", "int64", (-1,)))

    assert dataset.labels is None
    assert dataset.arrays["labels"].tolist() == [0, 1, 2]


def test_an_array_without_a_name_is_the_only_input(archive):
    """numpy.savez(file, array) is enough for a model with one input."""
    assert fit(archive(np.ones((3, 2))), X).arrays["x"].shape == (3, 2)


def test_the_digest_is_that_of_an_export(archive):
    """The load test finds the record of a model by the digest of its test data."""
    arrays = {"x": np.ones((3, 2)), "a": np.arange(3, dtype=np.int16)}
    labels = np.array([2, 1, 0])
    theirs = LabelledData(name="", variant="npz", inputs=arrays, dtypes={}, labels=labels)

    ours = fit(archive(**arrays, labels=labels), X, ModelInput("a", "int64", (-1,)))

    assert ours.sha256() == theirs.sha256()


def test_rows_of_json_are_objects_or_values(lines):
    """An object has a value for each input, and a label; a value alone is the only input's."""
    named = fit(
        lines({"x": [1, 2], "t": "a", "label": 1}, {"t": "b", "x": [3, 4], "label": 0}), X, TEXT
    )
    alone = fit(lines([1, 2.5], [3, 4]), X)

    assert named.arrays["x"].tolist() == [[1, 2], [3, 4]]
    assert named.arrays["t"].tolist() == [b"a", b"b"]
    assert named.labels.tolist() == [1, 0]
    assert alone.arrays["x"].tolist() == [[1, 2.5], [3, 4]]
    assert alone.labels is None


def test_rows_of_json_may_hold_bytes_and_recorded_answers(lines):
    """{"b64": ...} is bytes, zero bytes at its end included; outputs are recorded by name."""
    dataset = fit(
        lines(
            {"t": {"b64": "AAEA"}, "outputs": {"y": [1.0]}, "answer": 1},
            {"t": "a", "outputs": {"y": [2.0]}, "answer": 0},
        ),
        TEXT,
    )

    assert dataset.arrays["t"].tolist() == [b"\0\1\0", b"a"]
    assert dataset.outputs["y"].tolist() == [[1], [2]]
    assert dataset.classes.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        pytest.param(["{", "1"], "line 1 of .* is no JSON", id="no-json"),
        pytest.param([{"x": [1, 2]}, {"y": 1}], 'row 2 of .* has "y", expected "x"', id="keys"),
        pytest.param([[1, 2], [1]], r"row 2 .* has shape \(1,\), expected \(2,\)", id="shapes"),
        pytest.param([[[1], [1, 2]]], "row 1 .* has lists of unequal lengths", id="ragged"),
        pytest.param([""], "has no rows", id="empty"),
        pytest.param([{"x": {"b64": "?"}}], '"b64" is no Base64', id="b64"),
        pytest.param([{"x": [1, 2], "label": -1}], "has -1, expected classes", id="negative"),
        pytest.param([{"x": [1, 2], "label": "cat"}], "expected integers", id="name"),
    ],
)
def test_rows_of_json_that_cannot_be_sent_are_refused(lines, rows, words):
    """The message names the line or the row."""
    with pytest.raises(UsageError, match=words):
        fit(lines(*rows), X)


def test_archives_that_cannot_be_read_are_refused(archive, tmp_path):
    """Files that are no archives, objects, and too few outputs give one line."""
    (tmp_path / "text.npz").write_text("no archive")
    np.save(tmp_path / "one.npy", np.ones(3))
    (tmp_path / "one.npy").rename(tmp_path / "one.npz")

    for name in ("text.npz", "one.npz", "nothing.npz"):
        with pytest.raises(UsageError, match=name):
            array_files.read_archive(tmp_path / name)
    with pytest.raises(UsageError, match="not as objects"):
        archive(x=np.array([b"a", b"bc"], object))
    with pytest.raises(
        UsageError, match=r'"outputs/y" in .* has shape \(2,\), expected \(3, ...\)'
    ):
        fit(archive(x=np.ones((3, 2)), **{"outputs/y": np.ones(2)}), X)
