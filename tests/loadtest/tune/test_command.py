"""`python -m loadtest tune` against real servers of a tiny model."""

import json
import re
import shutil
import signal

import psutil
import pytest

from loadtest.tune.cells import DEFAULTS, read
from loadtest.tune.document import TUNE_FILE, decode
from serving.settings.flags import parse_config

SECONDS = 90
GRID = ("--cores=2", "--workers=1", "--threads=1", "--batch-limits=8")
SHORT = ("--seconds=0.3", "--pairs=6", "--slo-ms=200")


@pytest.fixture
def tune(start, finish, image_models_dir):
    """Return a function that runs `tune` on the model `cat`; it returns result and document."""

    def run(*arguments, models_dir=image_models_dir, seconds=SECONDS):
        flags = (f"--models-dir={models_dir}", "--model=cat", *SHORT, *GRID, *arguments)
        result = finish(*start(*flags, command="tune"), seconds=seconds)
        file = result.folder / TUNE_FILE
        return result, decode(file.read_bytes()) if file.is_file() else None

    return run


def test_a_search_ends_with_flags_a_gain_and_an_environment_file(tune, tmp_path):
    """Cells are measured, one that cannot start is left out, and the best meets the defaults."""
    env_file = tmp_path / "new" / "tuned.env"

    result, document = tune(
        "--instances=1,2,2000", "--no-record", f"--env-file={env_file}", "--json"
    )

    assert result.exit_code == 0, result.stderr
    assert decode(result.stdout.splitlines()[-1].encode()) == document
    cells = [read(values) for values in document.cells]
    assert cells[0] == DEFAULTS
    assert [cell.instances for cell in cells[1:]] == [1, 2, 2000]
    (dropped,) = document.dropped
    assert cells[dropped.cell].instances == 2000
    assert "--instances is 2000, expected 0 to 1024" in dropped.reason
    assert dropped.cell not in document.rounds[-1].kept
    assert document.rounds[0].cells == [1, 2, 3]
    assert document.best in {1, 2}
    phases = [one.phase for one in document.measurements]
    assert phases[0] == "first"
    assert phases.count("gain") in {0, 12}
    assert all(one.goodput_per_second > 0 for one in document.measurements if one.phase != "check")
    assert all(one.wrong == 0 for one in document.measurements)
    # The model always answers "cat", and two of the 24 images are cats.
    for one in document.measurements:
        assert one.correct / one.images == pytest.approx(2 / 24, abs=0.04)
    if document.gain is not None:  # if the best cell is not what the server does anyway
        assert document.gain.pairs == 6
        assert document.gain.clear == (document.recommended != 0)
    variables = dict(
        line.split("=") for line in env_file.read_text().splitlines() if not line.startswith("#")
    )
    assert parse_config([], variables) == parse_config(cells[document.recommended].flags, {})
    assert f"env file     {env_file}" in result.stdout
    assert "round 1: 3 cells" in result.stderr
    assert not list((result.folder / "servers").glob("models*"))


def test_wrong_answers_are_never_tuned(tune, image_models_dir, tmp_path, split):
    """If the answers differ from the record, the cell fails: here already the defaults."""
    folder = tmp_path / "models" / "cat"
    shutil.copytree(image_models_dir / "cat", folder)
    record = {
        "data": {"sha256": split.sha256(), "variant": "png"},
        "variants": {"fp32": {"top1": 0.5, "n": 24, "predictions": "4" * 24}},
    }
    (folder / "1" / "metrics.json").write_text(json.dumps(record))

    result, document = tune("--instances=1", models_dir=folder.parent)

    assert result.exit_code == 2
    assert document is None
    assert result.stderr.splitlines()[-1].startswith(
        "error: the server without flags cannot be measured: "
    )
    assert re.search(r"[1-9]\d* answers differ from the record, at most 0 allowed", result.stderr)


@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)]
)
def test_a_signal_ends_a_search_with_what_is_known(start, finish, image_models_dir, number):
    """The finished measurements are in tune.json, no server runs on, and nothing is recommended."""
    process, folder = start(
        *(f"--models-dir={image_models_dir}", "--model=cat", "--no-record", *SHORT, *GRID),
        *("--instances=1,2", "--seconds=3"),
        command="tune",
    )
    for line in process.stderr:
        if " of 2: " in line:
            break
    descendants = psutil.Process(process.pid).children(recursive=True)

    process.send_signal(number)

    result = finish(process, folder, seconds=SECONDS)
    document = decode((folder / TUNE_FILE).read_bytes())
    assert result.exit_code == 1
    assert document.stop_reason == f"interrupted by {number.name}"
    assert result.stderr.splitlines()[-1] == f"ended early: interrupted by {number.name}"
    assert [one.phase for one in document.measurements][:1] == ["first"]
    assert document.recommended is None
    assert not (folder / "tuned.env").exists()
    assert descendants
    _, alive = psutil.wait_procs(descendants, timeout=SECONDS)
    assert not alive


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_search_keeps_its_time_limit(tune):
    """Of a grid that does not fit into the time, some cells are chosen by chance."""
    numbers = "1,2,3,4,5,6,7,8,9,10"

    result, document = tune(
        *("--no-record", f"--instances={numbers}", f"--threads={numbers}", "--seconds=1"),
        *("--batch-limits=4,8", "--max-seconds=100"),
        seconds=280,
    )

    assert result.exit_code == 0, result.stderr
    assert document.grid_cells == 200
    assert 2 <= len(document.cells) - 1 < 200
    assert "chosen by chance: --max-seconds 100" in result.stderr
    assert document.seconds <= 130


@pytest.mark.slow
def test_a_recorded_grid_has_every_cell_in_turns(tune):
    """--record measures all cells, A B A B, and recommends nothing."""
    result, document = tune("--no-record", "--instances=1,2", "--record=3")

    assert result.exit_code == 0, result.stderr
    grid = [one.cell for one in document.measurements if one.phase == "grid"]
    assert grid == [1, 2] * 3
    assert (document.recommended, document.rounds) == (None, [])
    assert not list(result.folder.glob("*.env"))
