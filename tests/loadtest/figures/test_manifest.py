import os
from pathlib import Path

import pytest

import loadtest
from loadtest.figures import manifest
from loadtest.settings.config import GateConfig, LoadTestConfig
from training.evaluation import provenance


@pytest.mark.parametrize(
    ("content", "cores"), [("max 100000\n", None), ("150000 100000\n", 1.5), (None, None)]
)
def test_the_control_groups_limit_is_read(tmp_path, content, cores):
    """A quota of 150 ms per 100 ms is 1.5 cores; "max" and a missing file mean no limit."""
    if content is not None:
        (tmp_path / "cpu.max").write_text(content)

    assert manifest.cpu_quota(tmp_path) == cores


def test_settings_keep_only_the_last_part_of_paths():
    """Paths in settings, also nested ones, keep only the last part, because reports are shared."""
    config = LoadTestConfig(
        target="t:1",
        model="m",
        output_dir=Path("/home/somebody/results/x"),
        name="run",
        gates=GateConfig(baseline=Path("/home/somebody/report.json")),
    )

    settings = manifest.settings(config)

    assert settings["output_dir"] == "x"
    assert settings["gates"]["baseline"] == "report.json"
    assert (settings["target"], settings["users"]) == ("t:1", None)


def test_the_environment_names_versions_and_processor():
    """The environment contains versions and processor; packages not installed are left out."""
    environment = manifest.describe()

    assert environment.load_average_1_min_at_start >= 0
    assert environment.cores == len(os.sched_getaffinity(0))

    assert {"python", "numpy", "grpcio"} <= set(environment.versions)
    assert None not in environment.versions.values()
    assert environment.cores >= 1


def test_the_commit_is_that_of_the_whole_package(monkeypatch):
    """A change in any folder of the load generator marks the commit as "-dirty"."""
    asked = []
    monkeypatch.setattr(provenance, "git_commit", asked.append)

    manifest.describe()

    assert asked == [Path(loadtest.__file__).parent]
