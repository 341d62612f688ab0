import json
from dataclasses import replace

import pytest
from picture_sets import write_pictures

from loadtest.rows import recorded_split
from loadtest.settings.config import DataConfig, LoadTestConfig, UsageError


@pytest.fixture
def config(tmp_path):
    """A run on pictures without a test part and a model that was trained with the seed 7."""
    write_pictures(tmp_path / "data", 5, parts=("",))
    for version, seed in ((1, 3), (2, 7)):
        folder = tmp_path / "models" / "m" / str(version)
        folder.mkdir(parents=True)
        metrics = {"training": {"config": {"split_seed": seed}}}
        (folder / "metrics.json").write_text(json.dumps(metrics))
    return LoadTestConfig(
        target="localhost:1",
        model="m",
        models_dir=tmp_path / "models",
        data=DataConfig(data_dir=tmp_path / "data"),
        output_dir=tmp_path,
        name="test",
    )


def seed_of(config, **data):
    return recorded_split.settled(
        replace(config, data=replace(config.data, **data))
    ).data.split_seed


def test_the_seed_of_the_model_is_used(config, capsys):
    """It is that of the version, or of the latest one; without a record there is none."""
    assert seed_of(config) == 7
    assert seed_of(replace(config, version=1)) == 3
    assert seed_of(replace(config, version=9)) is None
    assert seed_of(replace(config, models_dir=None)) is None
    assert seed_of(config, random=5) is None
    assert seed_of(config, split_seed=7) == 7
    assert capsys.readouterr().err == ""


def test_another_seed_is_told(config, capsys):
    """A given seed counts, and a line says what it means."""
    assert seed_of(config, split_seed=2) == 2
    assert capsys.readouterr().err == (
        "--split-seed 2 given, but m was trained with 7: pictures that it was trained on are "
        "tested\n"
    )


def test_a_seed_for_given_test_pictures_is_refused(config, tmp_path):
    """Only a recorded one is ignored then."""
    write_pictures(tmp_path / "given", 5)

    assert seed_of(config, data_dir=tmp_path / "given") == 7
    with pytest.raises(UsageError, match="split seed 2 received, but the data name"):
        seed_of(config, data_dir=tmp_path / "given", split_seed=2)
