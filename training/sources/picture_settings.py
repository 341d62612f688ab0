"""Settings of a training that follow from its data, unless the user chooses them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from training.sources import opening
from training.sources.listing import check_split_seed, check_trainable


def choose(data_dir: Path | None, run_dir: Path, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that the data choose: `image_size`, and `validation` for a folder `val`.

    Wrong data are found here, before Keras is imported, which takes seconds.

    Args:
        data_dir: See opening.find.
        run_dir: The run folder. A run that began keeps the settings of its beginning, and a
            finished one needs no data.
        options: The settings that the user gave; None for those that are not given.

    Raises:
        DataError: The data cannot be trained on.
    """
    begun = _begun(run_dir)
    chosen: dict[str, Any] = {name: begun[name] for name in _NAMES if name in begun}
    if not (run_dir / "metrics.json").exists():
        seed = options["split_seed"]
        listing = opening.find(
            data_dir, split_seed=chosen.get("split_seed", 0) if seed is None else seed
        )
        check_split_seed(listing, seed)
        if listing is None:
            opening.check_reference_side(options["image_size"])
        else:
            check_trainable(listing, data_dir)
        if listing is not None and not begun:
            chosen["image_size"] = opening.DEFAULT_SIDE
            if listing.counts()["validation"]:
                chosen["validation"] = "folder"
    return {name: value for name, value in chosen.items() if options[name] is None}


_NAMES = ("image_size", "validation", "split_seed")


def _begun(run_dir: Path) -> dict[str, Any]:
    """Return the settings of a run that began with pictures; empty for another one or none."""
    try:
        document = json.loads((run_dir / "config.json").read_text(encoding="utf-8"))
        return dict(document["config"]) if "pictures" in document else {}
    except (OSError, ValueError, LookupError, TypeError):
        return {}  # a training refuses a damaged file with a message of its own
