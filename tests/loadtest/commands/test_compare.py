import json
import re
import subprocess
import sys

import numpy as np
import pytest
from sample_results import load_reports

from loadtest.reports.pages import files


@pytest.fixture
def written(tmp_path):
    """Return a function that writes a run over images 0 to 99; `wrong` images are misclassified."""

    def write(name: str, wrong: set[int], **settings):
        folder = tmp_path / name
        files.write_run(load_reports.report(name=name, **settings), folder)
        image_ids = np.arange(100).reshape(25, 4)
        labels = image_ids % 10
        answers = np.where(np.isin(image_ids, list(wrong)), (labels + 1) % 10, labels)
        image_ids[-1, 2:] = answers[-1, 2:] = labels[-1, 2:] = -1
        np.savez_compressed(folder / "raw.npz", image_ids=image_ids, answers=answers, labels=labels)
        return folder

    return write


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "loadtest", "compare", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_answers_to_the_same_images_are_paired(written, tmp_path):
    """Of 98 common images, the first side alone got 4 right and the other side alone 1."""
    first = written("fp32", {1, 2})
    other = written("w8", {2, 3, 4, 5, 6}, precision="w8")

    result = command(first, other, "--json", "--output-dir", tmp_path / "out")

    document = json.loads(result.stdout.splitlines()[-1])
    paired = dict(document["matches"][0]["paired"])
    assert result.returncode == 0, result.stderr
    difference = paired.pop("difference")
    assert paired == {
        "images": 98,
        "same": 93,
        "p_holm": pytest.approx(1.0),
        "verdict": "not told apart",
    }
    # The difference is the other side minus the first: 1 image gained, 4 lost.
    assert (difference["only_first"], difference["only_second"], difference["n"]) == (1, 4, 98)
    assert difference["difference"] == pytest.approx(-3 / 98)
    assert "the same images, 94.90 % same class | 4 right alone | 1 right alone" in result.stdout
    assert json.loads((tmp_path / "out" / "comparison.json").read_text()) == document
    assert (tmp_path / "out" / "comparison.md").read_text() in result.stdout


def test_answers_without_labels_are_not_paired(written):
    """Rows without labels, and answers that are no classes, are neither right nor the same."""
    first, other = written("first", set()), written("other", set())
    for folder in (first, other):
        with np.load(folder / "raw.npz") as archive:
            none = np.full_like(archive["labels"], -1)
            arrays = {**archive, "answers": none, "labels": none}
        np.savez_compressed(folder / "raw.npz", **arrays)

    result = command(first, other, "--json")

    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout.splitlines()[-1])["matches"][0]["paired"] is None


def test_requests_without_an_answer_are_not_compared(written):
    """An image of a failed request is neither right nor wrong; its later answer counts."""
    first, other = written("first", set()), written("other", set())
    image_ids = np.array([[5], [6], [5]])
    np.savez_compressed(
        first / "raw.npz",
        schema_version=2,
        latency_ns=[-1, 20, 30],
        image_ids=image_ids,
        answers=[[-1], [6], [5]],
        labels=image_ids,
    )

    result = command(first, other, "--json")

    assert result.returncode == 0, result.stderr
    paired = json.loads(result.stdout.splitlines()[-1])["matches"][0]["paired"]
    assert (paired["images"], paired["same"]) == (2, 2)
    assert paired["difference"]["only_first"] == paired["difference"]["only_second"] == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param(["{a}"], "one result received, expected two or more", id="one"),
        pytest.param(["{a}", "{a}/nothing"], "cannot read a report", id="missing"),
        pytest.param(["{a}", "--by", "model"], "all results have model simcnn", id="all-the-same"),
        pytest.param(["{a}", "{batch}"], "a has batch 1, batch 8; --anyway", id="other-load"),
    ],
)
def test_what_cannot_be_compared_ends_in_one_line(written, arguments, words):
    """Results that cannot be compared end with exit code 2 and one line with the reason."""
    folders = {"a": written("a", set()), "batch": written("batch", set(), batch=8)}

    result = command(*(argument.format(**folders) for argument in arguments))

    assert result.returncode == 2
    assert result.stderr.startswith("error: ")
    assert words in result.stderr
    assert result.stdout == ""


def test_the_page_says_what_the_figures_are(written):
    """The page shows both medians and the ratio, and that one pair is too few for a verdict."""
    result = command(written("before", set()), written("after", set(), latency_ms=2.0))

    row = next(line for line in result.stdout.splitlines() if "p50 (ms)" in line)
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert result.stdout.startswith("# before against after\n")
    assert cells[0] == "simcnn fp32 tfs-grpc, SingleStream"
    assert float(cells[4]) == pytest.approx(float(cells[3]) / float(cells[2]), rel=0.01)
    assert cells[5:7] == ["", "1"]
    assert cells[7] == "1.00"
    assert re.fullmatch(r"too few pairs, \d needed", cells[8])
    assert "**" not in result.stdout


@pytest.mark.parametrize(
    ("lost", "p", "verdict"),
    [
        pytest.param(5, "0.0625", "not told apart", id="5"),
        pytest.param(6, "0.0312", "**worse**", id="6"),
    ],
)
def test_words_about_the_same_images_follow_the_exact_p(written, lost, p, verdict):
    """Of 5 images that one side lost, none won, p is 0.0625, and the sides are not told apart."""
    first, other = written("fp32", set()), written("w8", set(range(lost)), precision="w8")

    result = command(first, other, "--figure", "answers")

    row = next(line for line in result.stdout.splitlines() if "the same images" in line)
    assert row.endswith(f" | 98 images | {p} | {verdict} |")
    assert "needs at least 6 pairs. Top-1" in result.stdout


def test_the_page_says_why_a_side_is_invalid(written):
    """INVALID beside a configuration has its reason below the table."""
    first, other = written("fp32", set()), written("w8", set(), reasons=("the client lagged",))

    page = command(first, other).stdout

    assert "(INVALID: w8; reasons below)" in page
    assert "## INVALID\n\n- w8, simcnn fp32 tfs-grpc, SingleStream, the client lagged" in page
