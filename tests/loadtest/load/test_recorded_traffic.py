import json

import numpy as np
import pytest

from loadtest.load.recorded_traffic import read
from loadtest.settings.config import UsageError

MS = 1_000_000


def test_a_csv_file_gives_times_models_batches_and_images(tmp_path):
    """Rows are sorted by time, times count from the first one, and other columns are ignored."""
    file = tmp_path / "day.csv"
    file.write_text(
        "time,status,model,batch,images\n100.25,200,b,2,3 4\n100.0,200,a,1,7\n100.5,500,a,1,7\n"
    )

    found = read(file)

    assert found.source == "day.csv"
    assert found.times_ns.tolist() == [0, 250 * MS, 500 * MS]
    assert found.models.tolist() == ["a", "b", "a"]
    assert found.batches.tolist() == [1, 2, 1]
    assert found.images.tolist() == [[7, -1], [3, 4], [7, -1]]
    assert found.parts() == [("a", 1), ("b", 2)]


def test_json_lines_give_the_same_as_csv(tmp_path):
    """Empty lines are skipped; the batch is the number of images if it is not given."""
    rows = [
        {"time": 100.25, "model": "b", "images": [3, 4]},
        {"time": "100", "model": "a", "images": 7},
    ]
    file = tmp_path / "day.jsonl"
    file.write_text("\n\n".join(map(json.dumps, rows)))

    found = read(file)

    assert found.times_ns.tolist() == [0, 250 * MS]
    assert found.batches.tolist() == [1, 2]
    assert found.images.tolist() == [[7, -1], [3, 4]]


@pytest.mark.parametrize(
    ("texts", "gap_ns"),
    [
        (("2026-03-01T10:00:00Z", "2026-03-01T12:00:00.000250+02:00"), 250_000),
        (("2026-03-01 10:00:00", "2026-03-01T10:00:01+00:00"), 1_000 * MS),
        (("1764246609.123456789", "1764246609.123456790"), 1),
    ],
)
def test_times_are_seconds_or_iso_8601(tmp_path, texts, gap_ns):
    """Times with an offset are of the same moment in UTC; seconds are exact to nanoseconds."""
    file = tmp_path / "day.csv"
    file.write_text("time\n" + "\n".join(texts))

    assert read(file).times_ns.tolist() == [0, gap_ns]


def test_due_times_in_nanoseconds_are_a_column_too(tmp_path):
    """due_ns, as the samples of a run have it, takes the place of time."""
    file = tmp_path / "day.csv"
    file.write_text("due_ns\n5\n9\n")

    found = read(file)

    assert found.times_ns.tolist() == [0, 4]
    assert (found.models, found.images) == (None, None)
    assert found.parts() == [(None, 0)]


def test_the_samples_of_a_run_give_its_requests(tmp_path):
    """Samples are in the order of the answers; a short last query keeps its unused place."""
    np.savez(tmp_path / "raw.npz", due_ns=[7, 0], image_ids=[[5, -1], [3, 4]])

    found = read(tmp_path)

    assert found.source == f"{tmp_path.name}/raw.npz"
    assert found.times_ns.tolist() == [0, 7]
    assert found.images.tolist() == [[3, 4], [5, -1]]
    assert found.batches.tolist() == [2, 2]


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.csv", "time\nsoon\n", "line 2: time 'soon' received, expected seconds"),
        ("a.csv", "time\nnan\n", "line 2: time 'nan' received"),
        ("a.csv", "when\n5\n", "columns when received, expected a column time"),
        ("a.csv", "time\n", "no requests"),
        ("a.csv", "time,batch\n1,2.5\n", "batch '2.5' received, expected a whole number"),
        ("a.csv", "time,batch,images\n1,3,4 5\n", "batch 3 with 2 images"),
        ("a.csv", "time,images\n1,-4\n", "expected numbers of 0 or more"),
        ("a.csv", "time,model\n1,a\n2,\n", "1 of 2 requests lack a model"),
        ("a.jsonl", "{\n", "line 1 is no JSON object"),
        ("a.jsonl", "[1]\n", "line 1 is no JSON object"),
        ("a.jsonl", '{"time": 1, "model": 5}\n', "model 5 received, expected a name"),
        ("a.log", "1\n", "the suffix '.log' received, expected .csv"),
        ("a.npz", "1\n", "no samples of a load test"),
    ],
)
def test_a_wrong_file_is_refused_with_the_place(tmp_path, name, text, words):
    """The message names the file, the line, and what was expected."""
    file = tmp_path / name
    file.write_text(text)

    with pytest.raises(UsageError) as refused:
        read(file)

    assert str(refused.value).startswith(f"{file}: ")
    assert words in str(refused.value)


def test_a_missing_file_is_refused(tmp_path):
    """A file that cannot be opened is one line, too."""
    with pytest.raises(UsageError, match="cannot read recorded traffic from"):
        read(tmp_path / "nothing.csv")
