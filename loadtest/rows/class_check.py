"""Refuses rows whose classes are not those of the model: their labels would mean other classes.

A label is the place of a class among the names of the data. If a class of the model has no folder,
all labels behind it are of the class before.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy.typing as npt

from loadtest.rows.dataset import Dataset
from loadtest.settings.config import UsageError
from loadtest.transports.api import SCORE_NAMES
from training.data.cifar10 import CLASS_NAMES

_SHOWN = 12


def check(
    dataset: Dataset, model: str, *, names: Sequence[str] = (), scores: int | None = None
) -> None:
    """Compare the classes of the rows with those of the model.

    CIFAR-10's classes have fixed places, and a model may call them by other names.

    Args:
        dataset: The rows.
        model: Name of the model, for the message.
        names: Names of the model's classes, in the order of its scores; empty if unknown.
        scores: Number of the model's scores; None if unknown.

    Raises:
        UsageError: The classes differ.
    """
    own = dataset.class_names
    if dataset.labels is None or not own:
        return
    fixed = own == CLASS_NAMES
    if names:
        if tuple(names) == own or (fixed and _renamed(names)):
            return
        expected = f"the {len(names)} of model {model!r}: {_listed(names)}"
    else:
        if scores in (None, len(own)) or (fixed and (scores or 0) > len(own)):
            return
        expected = f"as many as model {model!r} has scores, {scores}"
    msg = (
        f"{dataset.source or 'the test images'} has {len(own)} classes: {_listed(own)}; expected "
        f"{expected}; {_way_out(own, names, fixed=fixed)}"
    )
    raise UsageError(msg)


def score_count(outputs: Mapping[str, npt.NDArray[Any]], read_from: str) -> int | None:
    """Return the number of scores of a row in an answer; None if it has none.

    Args:
        outputs: All outputs, by name.
        read_from: Name of the output that the classes were read from.
    """
    for name in (read_from, *SCORE_NAMES):
        array = outputs.get(name)
        if array is not None and array.dtype.kind == "f" and array.ndim == 2:
            return int(array.shape[1])
    return None


def _renamed(names: Sequence[str]) -> bool:
    """Return whether a model may have CIFAR-10's classes under names of its own."""
    return len(names) == len(CLASS_NAMES) and all(
        name not in CLASS_NAMES or name == place
        for name, place in zip(names, CLASS_NAMES, strict=True)
    )


def _way_out(own: Sequence[str], names: Sequence[str], *, fixed: bool) -> str:
    if fixed:
        return (
            "pictures of 32x32 pixels in folders of these names are read as CIFAR-10: pass the "
            "data of the model's training, or a table of the pictures (labels.csv)"
        )
    foreign = [name for name in own if name not in names]
    missing = [name for name in names if name not in own]
    if not names:
        return "add an empty folder for each class without test pictures (test/CLASS)"
    if foreign:
        return f"rename or remove {_listed(foreign)}"
    if missing and sorted(names) == list(names):
        return f"add an empty folder for {_listed(missing)} (test/CLASS)"
    return "their order differs: pass the data of the model's training"


def _listed(names: Sequence[str]) -> str:
    more = f", ... ({len(names) - _SHOWN} more)" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
