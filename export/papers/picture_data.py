"""What a model card says of pictures of any classes that a model was trained on."""

from collections.abc import Mapping
from typing import Any

from export.papers import cells

_UNKNOWN_LICENCE = (
    "not stated; the rights in the pictures remain with their owners: check what that means for "
    "you before you pass the model on"
)
_MOST_NAMED = 20
_ALWAYS = (
    "The model always answers one of its classes. A picture of anything else gets one of them too, "
    'often with a high probability: there is no class for "none of these".'
)
_SCALED = (
    "Every picture is scaled to {side}x{side} pixels, without its aspect ratio. Details that are "
    "lost then are lost to the model."
)
_LIKE = (
    "The figures hold for pictures like the test pictures: other cameras, crops and backgrounds "
    "cost accuracy."
)
_SPREAD = (
    "The interval covers the choice of test pictures. It does not cover the spread between "
    "trainings: another seed gives another accuracy."
)


def names(class_names: list[str]) -> str:
    """Return the names of the classes in a sentence, the first twenty of many."""
    shown = ", ".join(class_names[:_MOST_NAMED])
    more = len(class_names) - _MOST_NAMED
    return f"{shown} and {more} more" if more > 0 else shown


def limits(training: Mapping[str, Any]) -> str:
    """Return the limits of the model, as a list in Markdown."""
    side = (training.get("config") or {}).get("image_size")
    found = [_ALWAYS, _SCALED.format(side=side), _LIKE, _SPREAD]
    facts = training["pictures"]
    if facts.get("repeated_pictures"):
        found.append(
            f"{facts['repeated_pictures']:,} files are equal to files of another part of the data, "
            "so that the accuracy here is too high."
        )
    return "\n".join(f"- {sentence}" for sentence in found)


def section(training: Mapping[str, Any]) -> str:
    """Return the section about the pictures: origin, licence, numbers, sizes, digests."""
    facts, data = training["pictures"], training.get("data") or {}
    per_class = facts["per_class"]
    rows = [
        ("Licence", facts.get("licence") or _UNKNOWN_LICENCE),
        ("Layout", str(facts["variant"])),
        ("Files", f"{facts['pictures']:,}, of which {facts['broken']:,} could not be read"),
        (
            "Test pictures",
            f"drawn, a fifth of each class, seed {facts.get('split_seed', 0)}"
            if facts["drawn_test"]
            else "those that the data name",
        ),
        (
            "Largest class",
            f"{facts['imbalance']:g} times as many training pictures as the smallest",
        ),
        ("Formats", ", ".join(f"{name} {count:,}" for name, count in facts["formats"].items())),
        *(
            (f"{name.replace('_', ' ').capitalize()}", f"{low:g} to {high:g}, median {middle:g}")
            for name, (low, middle, high) in facts["sizes"].items()
        ),
        ("Equal files in several parts", f"{facts['repeated_pictures']:,}"),
        ("Pairs that look alike in several parts", f"{facts['alike_pairs']:,}"),
        ("Equal files in several classes", f"{facts['conflicting_pictures']:,}"),
        ("SHA-256 of the division", f"`{facts['listing_sha256']}`"),
        ("SHA-256 of the training images", f"`{data.get('train_sha256')}`"),
        ("SHA-256 of the test images", f"`{data.get('test_sha256')}`"),
    ]
    parts = list(per_class)
    counts = [
        (name, *(f"{per_class[part][name]:,}" for part in parts)) for name in per_class[parts[0]]
    ]
    return (
        f"{cells.table(('', ''), rows)}\n\nPictures that could be read, by class:\n\n"
        f"{cells.table(('Class', *parts), counts)}"
    )
