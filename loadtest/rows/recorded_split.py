"""The seed by which a model's test pictures were drawn, as its metrics.json records it."""

import json
import sys
from dataclasses import replace
from pathlib import Path

from loadtest.rows import own_pictures
from loadtest.settings.config import LoadTestConfig


def settled(config: LoadTestConfig) -> LoadTestConfig:
    """Return the settings with the recorded seed, unless another one is given.

    A line on standard error says if the given seed differs from the recorded one: training pictures
    are then among the test pictures.

    Raises:
        UsageError: A seed is given for data whose test pictures are not drawn.
    """
    data = config.data
    if data.inputs is not None or (data.random or data.synthetic) is not None:
        return config
    recorded = None
    if config.models_dir is not None:
        recorded = of_version(config.models_dir / config.model, config.version)
    if data.split_seed is None:
        return replace(config, data=replace(data, split_seed=recorded))
    own_pictures.check_seed(data.data_dir, data.split_seed)
    if recorded not in (None, data.split_seed):
        sys.stderr.write(
            f"--split-seed {data.split_seed} given, but {config.model} was trained with "
            f"{recorded}: pictures that it was trained on are tested\n"
        )
    return config


def of_version(model_dir: Path, version: int | None) -> int | None:
    """Return the seed that a version records; None without a record.

    Args:
        model_dir: Folder of the model's versions.
        version: Version number; None for the latest.
    """
    try:
        if version is None:
            version = max(int(each.name) for each in model_dir.iterdir() if each.name.isdecimal())
        text = (model_dir / str(version) / "metrics.json").read_text(encoding="utf-8")
        return int(json.loads(text)["training"]["config"]["split_seed"])
    except (OSError, ValueError, LookupError, TypeError):
        return None
