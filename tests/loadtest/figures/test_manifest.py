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
    """150 ms in every 100 ms are one and a half cores; "max" and no file are no limit."""
    if content is not None:
        (tmp_path / "cpu.max").write_text(content)

    assert manifest.cpu_quota(tmp_path) == cores


def test_settings_keep_only_the_last_part_of_paths():
    """A report is passed on, the machine is not; nested settings are included."""
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
    """What a figure was measured with; packages that are not installed are left out."""
    environment = manifest.describe()

    assert {"python", "numpy", "grpcio"} <= set(environment.versions)
    assert None not in environment.versions.values()
    assert environment.cores >= 1


def test_the_commit_is_that_of_the_whole_package(monkeypatch):
    """A change in any folder of the load generator marks the commit as "-dirty"."""
    asked = []
    monkeypatch.setattr(provenance, "git_commit", asked.append)

    manifest.describe()

    assert asked == [Path(loadtest.__file__).parent]
