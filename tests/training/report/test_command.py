import json
import re
import statistics
from html.parser import HTMLParser
from xml.dom import minidom

import pytest
from sample_results.run_folders import write_run

from training.__main__ import main
from training.data.cifar10 import CLASS_NAMES, DATA_DIR_VARIABLE, load
from training.report import formats
from training.run.train import train
from training.settings.recipes import from_recipe
from training.settings.report_differences import REPORT_DIFFERENCES

# Trainings of several runs: seconds on a machine at rest, minutes on a busy one.
pytestmark = pytest.mark.timeout(400)
SECTIONS = (
    *("Which one to choose", "All runs", "Spread between seeds", "Pairs on the same test images"),
    *("Data", "Models", "simcnn", "Run best-0", "Run best-1", "Run published", "Worst mistakes"),
    *("Accuracy by class", "Settings", "The published protocol", "How the figures came about"),
)


class Links(HTMLParser):
    """Collects the addresses that a page links or loads, and its tags."""

    def __init__(self, text):
        super().__init__()
        self.targets, self.tags = [], set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        """Remember the tag and its addresses."""
        self.tags.add(tag)
        names = ("action", "background", "data", "href", "poster", "src", "srcset")
        self.targets += [value for name, value in attrs if name in names]


@pytest.fixture(autouse=True)
def _no_data_dir(monkeypatch):
    """Unset CIFAR10_DIR, which may be set in the environment of the tests."""
    monkeypatch.delenv(DATA_DIR_VARIABLE, raising=False)


@pytest.fixture(scope="module")
def runs(tmp_path_factory, image_dir):
    """Train three runs on tiny data: two seeds of one recipe, and the published protocol."""
    folder = tmp_path_factory.mktemp("runs")
    results = []
    for name, recipe, seed in (
        ("best-0", "best", 0),
        ("best-1", "best", 1),
        ("published", "report", 0),
    ):
        config = from_recipe("simcnn", recipe, epochs=2, seed=seed)
        results.append(train(config, run_dir=folder / name, data_dir=image_dir))
    return results


@pytest.fixture(scope="module")
def report(runs, image_dir, tmp_path_factory):
    """Return the folder of a report of all three runs."""
    folder = tmp_path_factory.mktemp("report")
    folders = [str(result.run_dir) for result in runs]
    assert main(["report", *folders, f"--output={folder}", f"--data-dir={image_dir}"]) == 0
    return folder


def write_report(folders, output, *flags):
    """Write a report; return the exit code and the HTML page, empty if there is none."""
    code = main(["report", *map(str, folders), f"--output={output}", *map(str, flags)])
    page = output / "report.html"
    return code, page.read_text() if page.exists() else ""


@pytest.mark.parametrize("page", ["report.html", "report.md"])
def test_report_has_every_section(report, page):
    """The HTML and the Markdown page have all sections, with the same headings."""
    text = (report / page).read_text()

    for section in SECTIONS:
        assert re.search(rf"(>|^#+ |\*\*){section}(<|$|\*\*)", text, re.MULTILINE), section


def test_html_loads_nothing(report):
    """Every address in the page is an anchor or a data URL, and the page has no script."""
    text = (report / "report.html").read_text()
    links = Links(text)

    assert len(links.targets) > 40
    assert all(target.startswith(("#", "data:image/png;base64,")) for target in links.targets)
    assert not links.tags & {"script", "link", "iframe", "object", "embed"}
    assert not re.search(r"url\(|@import", text)


def test_markdown_shows_pictures_that_are_there(report):
    """Every picture of the Markdown page is a well-formed SVG file; no other file is written."""
    names = re.findall(r"\]\((pictures/[\w-]+\.svg)\)", (report / "report.md").read_text())

    assert {path.name for path in report.iterdir()} == {"report.html", "report.md", "pictures"}
    assert sorted(names) == sorted(f"pictures/{p.name}" for p in (report / "pictures").iterdir())
    for name in names:
        drawn = minidom.parse(str(report / name))  # noqa: S318 - written above
        assert drawn.documentElement.namespaceURI == "http://www.w3.org/2000/svg"
        assert not re.search(r"href=\"(?!#|data:)|<script", (report / name).read_text())


def test_seeds_are_summarised(report, runs):
    """A table has mean, sample standard deviation, extremes and number of the two seeds."""
    shares = [result.metrics["top1"] for result in runs[:2]]

    row = next(
        line
        for line in (report / "report.md").read_text().splitlines()
        if line.startswith("| simcnn best (epochs 2) | 0, 1 |")
    )

    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[2:7] == [
        "2",
        formats.percent(statistics.fmean(shares)),
        f"{100 * statistics.stdev(shares):.2f}",
        formats.percent(min(shares)),
        formats.percent(max(shares)),
    ]


def test_pairs_agree_with_the_accuracies(report, runs):
    """The difference of a pair's new answers equals that of the accuracies in metrics.json."""
    shares = {result.run_dir.name: result.metrics["top1"] for result in runs}
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in (report / "report.md").read_text().splitlines()
        if re.search(r"\| (yes|no) \|$", line) and line.count("|") == 10
    ]

    assert len(rows) == 3
    for first, second, difference, _, only_first, only_second, *_ in rows:
        assert difference == formats.points(shares[first] - shares[second])
        assert (int(only_first) - int(only_second)) / 50 == pytest.approx(
            shares[first] - shares[second]
        )


def test_order_is_that_of_held_out_images(report, runs):
    """Runs that held out images come first, ordered by them; the published protocol is last."""
    shares = {
        result.run_dir.name: result.metrics["last_epoch"]["val_accuracy"] for result in runs[:2]
    }
    text = (report / "report.md").read_text()

    order = re.findall(r"^## Run (.*)$", text, re.MULTILINE)

    assert order == [*sorted(shares, key=lambda name: (-shares[name], name)), "published"]
    assert "simcnn report (epochs 2): not compared here" in text


def test_figures_of_each_run_are_shown(report, runs):
    """Each run has accuracy, interval, images, digests, speed, hardware, versions and recipe."""
    text = (report / "report.md").read_text()
    for result in runs:
        metrics = result.metrics
        for fact in (
            formats.percent(metrics["top1"]),
            formats.interval(metrics["top1_wilson_95"]),
            f"{metrics['data']['train_images']:,} to train",
            metrics["data"]["train_sha256"],
            metrics["data"]["test_sha256"],
            f"{metrics['train_images_per_second']:,.0f} images/s",
            f"keras {metrics['versions']['keras']}",
            "changed; the recipe has",
        ):
            assert fact in text


def test_digests_are_at_the_end(report, runs):
    """All digests are in the last part of the page; no text before it has a digest."""
    text = (report / "report.html").read_text()
    before, _, digests = text.partition("<summary>Digests (SHA-256)</summary>")

    assert not re.search(">[^<]*[0-9a-f]{64}", before)
    for result in runs:
        data = result.metrics["data"]
        row = digests.partition(f"<td>{result.run_dir.name}</td>")[2].partition("</tr>")[0]
        assert re.findall("[0-9a-f]{64}", row) == [data["train_sha256"], data["test_sha256"]]
    assert "<h2" not in digests


def test_worst_mistakes_are_wrong_and_sorted(report, image_dir):
    """Each mistake has the image's label and another answer; probabilities are descending."""
    labels = load(image_dir).test.labels
    text = (report / "report.md").read_text().partition("## Run published")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (\d+) \| (\w+) \| (\w+) \| ([\d.]+) % \|$", text, re.MULTILINE)

    assert len(rows) == 12
    assert all(CLASS_NAMES[labels[int(index)]] == label for index, label, _, _ in rows)
    assert all(label != answer for _, label, answer, _ in rows)
    shares = [float(share) for *_, share in rows]
    assert shares == sorted(shares, reverse=True)


def test_published_protocol_names_its_mistakes(report):
    """The section of a `report` run lists the published mistakes it repeats; others do not."""
    text = (report / "report.md").read_text()
    parts = {part.partition("\n")[0]: part for part in text.split("\n## ")}

    assert "The test images are the validation images" in parts["Run published"]
    assert "No augmentation" in parts["Run published"]
    for difference in REPORT_DIFFERENCES["simcnn"]:
        assert difference in parts["Run published"]
    assert "published protocol" not in parts["Run best-0"]
    assert "71.61 %" in parts["All runs"]
    assert "The test images were the validation images" in parts["The published protocol"]


def test_one_run_alone_has_a_report(runs, image_dir, tmp_path):
    """The report of a single run has all of the run's figures and no comparison."""
    code, html = write_report([runs[0].run_dir], tmp_path / "out", "--data-dir", image_dir)

    assert code == 0
    assert "Only simcnn best (epochs 2) was given" in html
    assert "Each recipe was trained once" in html
    assert "Worst mistakes" in html
    assert "Pairs on the same test images" not in html


def test_unfinished_run_is_shown_but_not_compared(runs, image_dir, tmp_path):
    """An unfinished run beside a finished one is shown with its epochs, curves and command."""
    begun = write_run(tmp_path / "begun", epochs_done=3)

    code, html = write_report([runs[0].run_dir, begun], tmp_path / "o", "--data-dir", image_dir)

    assert code == 0
    assert "begun is unfinished: 3 of 60 epochs" in html
    assert f"python -m training simcnn --recipe=best --seed=0 --run-dir={begun}" in html
    assert "Accuracy of run begun over 3 epochs" in html
    assert "1 finished run;" in html


def test_only_unfinished_runs_are_one_line_and_exit_2(tmp_path, capsys):
    """If no run is finished, the command writes no report and names a command that resumes."""
    begun = write_run(tmp_path / "begun", epochs_done=3)

    code, html = write_report([begun], tmp_path / "out")

    assert (code, html) == (2, "")
    error = capsys.readouterr().err
    assert error.startswith("error: no run given is finished")
    assert f"--run-dir={begun}" in error
    assert error.count("\n") == 1


def test_hostile_folder_name_stays_text(tmp_path):
    """The name of a run folder called <script> is shown as text in both pages."""
    folder = write_run(tmp_path / "<script>alert('a')&\"b\" `c|d`")

    code, html = write_report([folder], tmp_path / "out")

    assert code == 0
    assert "script" not in Links(html).tags
    assert "&lt;script&gt;alert(" in html
    markdown = (tmp_path / "out" / "report.md").read_text()
    assert r"\<script\>alert(" in markdown
    assert not re.search(r"(?<!\\)<script", markdown.replace("```text", "").partition("--run")[0])


def test_folder_name_that_is_no_text_is_shown_all_the_same(tmp_path):
    """A byte of the folder's name that is not UTF-8 is shown as its code in the report."""
    folder = write_run(tmp_path / "run-\udcff")

    code, html = write_report([folder], tmp_path / "out")

    assert code == 0
    assert r"run-\udcff" in html


def test_without_data_pictures_and_pairs_are_left_out(tmp_path):
    """Without a data folder the report lacks pictures and pairs, and says how to get them."""
    folders = [write_run(tmp_path / "a"), write_run(tmp_path / "b", "resnet50", correct=90)]

    code, html = write_report(folders, tmp_path / "out")

    assert code == 0
    assert "no data folder was given (--data-dir or CIFAR10_DIR)" in html
    assert "Worst mistakes" not in html
    assert "published SimCNN" in html
    assert "published ResNet50" in html
    assert "80.8 million" in html


def test_wrong_data_dir_is_one_line_and_exit_2(tmp_path, capsys):
    """If --data-dir has no data, the command exits with code 2 and one line."""
    code, html = write_report([write_run(tmp_path / "a")], tmp_path / "o", "--data-dir=nowhere")

    assert (code, html) == (2, "")
    assert capsys.readouterr().err.startswith("error: data folder nowhere does not exist")


def test_other_images_are_not_used(tmp_path, image_dir):
    """If the data differs from a run's test images, the run has no samples and no mistakes."""
    code, html = write_report([write_run(tmp_path / "a")], tmp_path / "o", "--data-dir", image_dir)

    assert code == 0
    assert "Sample pictures are left out" in html
    assert "Mistakes and paired comparisons of a are left out: the test images given" in html


@pytest.mark.parametrize(
    ("content", "message"), [(None, "does not exist"), (b"no model", "is no readable .keras file")]
)
def test_missing_or_damaged_model_costs_its_mistakes_alone(tmp_path, image_dir, content, message):
    """Without a readable model.keras only the run's mistakes are missing; the reason is given."""
    data = load(image_dir)
    digests = {"train_sha256": data.train.sha256(), "test_sha256": data.sha256}
    folder = write_run(tmp_path / "a", data={"variant": "image-folder", **digests})
    if content:
        (folder / "model.keras").write_bytes(content)

    code, html = write_report([folder], tmp_path / "out", "--data-dir", image_dir)

    assert code == 0
    assert re.search(rf"Mistakes and paired comparisons of a are left out:.*{message}", html)
    assert "Some of 200 training images" in html


def test_model_that_is_not_the_one_measured_is_pointed_out(runs, image_dir, tmp_path):
    """If model.keras gives other answers than metrics.json records, the report says it."""
    data = load(image_dir)
    digests = {"train_sha256": data.train.sha256(), "test_sha256": data.sha256}
    folder = write_run(tmp_path / "a", correct=99, data={"variant": "image-folder", **digests})
    (folder / "model.keras").symlink_to(runs[0].run_dir / "model.keras")

    _, html = write_report([folder], tmp_path / "out", "--data-dir", image_dir)

    assert "of 50 images right here, metrics.json says 99" in html


def test_output_that_cannot_be_written_is_one_line_and_exit_2(tmp_path, capsys):
    """If --output is a file, the command exits with code 2 before it loads a model."""
    (tmp_path / "file").touch()

    code, _ = write_report([write_run(tmp_path / "a")], tmp_path / "file" / "out")

    assert code == 2
    assert "cannot write " in capsys.readouterr().err


def test_help_answers_without_keras(run_command):
    """`report --help` is complete and needs no Keras backend."""
    result = run_command("report", "--help", env={"KERAS_BACKEND": "none-such"})

    assert result.returncode == 0
    for flag in ("RUN", "--output", "--data-dir"):
        assert flag in result.stdout


def test_early_stop_is_reported(tmp_path):
    """For a run that stopped early the report has the last epoch and the epoch it saved."""
    folder = write_run(tmp_path / "a", early_stopping=5)
    metrics = json.loads((folder / "metrics.json").read_text())
    metrics |= {"epochs": 20, "stopped_epoch": 20, "best_epoch": 15}
    (folder / "metrics.json").write_text(json.dumps(metrics))

    _, html = write_report([folder], tmp_path / "out")

    assert "stopped early, of 60; the weights are those of epoch 15" in html
