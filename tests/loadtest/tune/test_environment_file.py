"""The environment file of a search: what reads it, and what it says."""

import os
import subprocess
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from running import containers

from loadtest.figures import manifest
from loadtest.rows.images import LabelledImages
from loadtest.settings.config import LoadTestConfig
from loadtest.tune.cells import DEFAULTS, Cell
from loadtest.tune.gain import compare
from loadtest.tune.halving import Budget, Halving
from loadtest.tune.meter import Meter
from loadtest.tune.results import SearchResult
from loadtest.tune.search import Limits, Search
from loadtest.tune.search_line import SearchLine
from loadtest.tune.served_model import TunedModel
from loadtest.tune.server_pool import ServerPool
from serving.settings.flags import parse_config

ROOT = Path(__file__).parents[3]
BEST = Cell(workers=2, instances=1, threads=1, batch_limit=32, precision="int8")
OTHER = Cell(workers=1, instances=1, threads=1, batch_limit=32, precision="int8")
# What the server does on two cores without flags.
LIKE_DEFAULTS = Cell(workers=1, instances=2, threads=1, batch_limit=64, precision="int8")


@pytest.fixture
def result(tmp_path, split):
    """Return a function that returns the result of a search with this best cell and pairs."""

    def of(best, pairs=()):
        config = LoadTestConfig(target="", model="cat", slo_ms=20.0, output_dir=tmp_path, name="t")
        pool = ServerPool(tmp_path, [], tmp_path, 1)
        limits = Limits(
            seconds=1.0, pairs=6, max_seconds=60.0, cores=2, server_cores=2, servers=1, seed=0
        )
        search = Search(
            meter=Meter(config=config, source=LabelledImages(split, None), pool=pool),
            pool=pool,
            limits=limits,
            line=SearchLine(),
            default_precision="int8",
            provider="CPUExecutionProvider",
        )
        search.index[DEFAULTS] = 0
        search._add([best, OTHER])
        rates = {best: 200.0, OTHER: 100.0}
        search.halving = Halving(
            measure=lambda cells, _: {cell: rates[cell] for cell in cells},
            seconds=1.0,
            budget=Budget(10.0, 10.0),
        )
        search.halving.run([best, OTHER])
        search.gain = compare([one for one, _ in pairs], [other for _, other in pairs])
        return SearchResult(
            search=search,
            config=config,
            percentile=99.0,
            model=TunedModel(name="cat", version=1, top1={"fp32": 0.5, "int8": 0.498}, others=()),
            environment=replace(manifest.describe(), cpu="Some $(processor) `of` 2 cores"),
            grid_cells=2,
            server_flags=[],
            started=datetime(2026, 1, 2, tzinfo=UTC),
        )

    return of


def test_the_server_and_the_shell_read_the_file(result, tmp_path):
    """The variables of the file, as a shell exports them, are the recommended cell's flags."""
    file = tmp_path / "tuned.env"
    file.write_text(result(BEST, [(200.0, 100.0)] * 6).environment_file())
    shell = f"set -a; . {file}; exec env"

    output = subprocess.run(
        ["sh", "-c", shell],
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": os.environ["PATH"]},
    )

    assert output.stderr == ""
    environment = dict(line.partition("=")[::2] for line in output.stdout.splitlines())
    assert parse_config([], environment) == parse_config(BEST.flags, {})


def test_every_line_has_the_form_that_docker_reads(result):
    """A line is a comment or NAME=VALUE without quotes, spaces and dollars (docker --env-file)."""
    text = result(BEST, [(200.0, 100.0)] * 6).environment_file()
    values = [line for line in text.splitlines() if not line.startswith("# ")]

    assert values == [f"{name}={value}" for name, value in BEST.variables.items()]
    assert not set(" \"'$`\\") & set("".join(values))
    assert text.endswith("int8\n")
    assert "2.000 (2.000 to 2.000) times the default flags' goodput" in text


def test_compose_passes_every_variable_on():
    """The services of compose.yaml give the server each variable of the file if it is set."""
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]

    assert services["serving"]["environment"] == dict.fromkeys(DEFAULTS.variables)
    assert services["serving-gpu"]["extends"] == {"service": "serving"}


def test_compose_reads_the_file(result, tmp_path):
    """`docker compose --env-file FILE` gives both services of the server the cell's variables."""
    known = [
        command
        for command in (("docker", "compose"), ("docker-compose",))
        if containers.succeeds(*command, "version")
    ]
    if not known:
        pytest.skip("neither `docker compose` nor `docker-compose` is installed")
    file = tmp_path / "tuned.env"
    file.write_text(result(BEST, [(200.0, 100.0)] * 6).environment_file())
    flags = ("--file", "compose.yaml", "--env-file", str(file), "--profile", "gpu", "config")

    output = subprocess.run(
        [*known[0], *flags], cwd=ROOT, capture_output=True, text=True, check=True
    )

    services = yaml.safe_load(output.stdout)["services"]
    assert services["serving"]["environment"] == BEST.variables
    assert services["serving-gpu"]["environment"] == BEST.variables | {"SERVING_DEVICE": "cuda"}


def test_a_gain_that_may_be_luck_keeps_the_defaults(result):
    """If the interval has 1 in it, the file has the server's default values, and says why."""
    pairs = [
        (100.0, 99.0),
        (100.0, 101.0),
        (103.0, 100.0),
        (99.0, 100.0),
        (100.0, 100.5),
        (101, 100),
    ]

    unclear = result(BEST, pairs)

    assert unclear.search.recommended == DEFAULTS
    text = unclear.environment_file()
    assert parse_config(
        [], dict(line.split("=") for line in text.splitlines()[3:])
    ) == parse_config([])
    assert "the interval has 1 in it" in text
    assert any(line.endswith("keep the defaults") for line in unclear.lines())
    assert unclear.document().gain.clear is False


def test_a_cell_that_is_what_the_server_does_anyway_is_not_recommended(result):
    """If the best cell has the values that the server chooses, the defaults are kept."""
    same = result(LIKE_DEFAULTS)

    assert same.search.recommended == DEFAULTS
    assert same.verdict == "the default flags are the best cell"
    assert "SERVING_INSTANCES=0\n" in same.environment_file()


def test_a_cell_that_was_not_compared_is_not_recommended(result):
    """Without a gain there is no file, and the lines name the best cell as not confirmed."""
    open_end = result(BEST)

    assert open_end.environment_file() is None
    assert open_end.document().recommended is None
    assert open_end.document().best == 1
    lines = "\n".join(open_end.lines())
    assert f"{'best':<13}{BEST}" in lines
    assert "not confirmed" in lines


def test_another_precision_is_named_with_both_accuracies(result):
    """A cell that trades accuracy for speed says so beside its flags."""
    other = result(replace(BEST, precision="fp32"), [(200.0, 100.0)] * 6)

    assert any("(top-1 50.00 %, the default's int8 49.80 %)" in line for line in other.lines())
    assert any(
        "instead of --workers=1 --instances=0 --intra_op_threads=0" in line
        for line in other.lines()
    )


def test_a_cell_that_was_only_lucky_is_called_so(result):
    """If the pairs show that the defaults are faster, the lines say so, and nothing else."""
    lucky = result(BEST, [(100.0, 200.0)] * 6)

    assert lucky.search.recommended == DEFAULTS
    assert "0.500 (0.500 to 0.500) times" in lucky.verdict
    assert lucky.verdict.endswith("the defaults are faster")


@pytest.mark.parametrize(("load", "count"), [(0.4, 0), (1.2, 1), (None, 0)])
def test_a_busy_machine_is_named(result, load, count):
    """A load average of over half of the cores before the search is a line of the result."""
    measured = result(BEST)

    busy = replace(
        measured, environment=replace(measured.environment, load_average_1_min_at_start=load)
    )

    assert sum("other programs were running" in line for line in busy.lines()) == count
