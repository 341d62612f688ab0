"""What is known of a data set after its pictures were decoded: sizes, broken files, repetitions."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import combinations
from typing import Any

import numpy as np

from training.sources.decoding import GOOD, Decoded
from training.sources.listing import PARTS, Listing
from training.sources.pixels import KINDS

# Hashes of pictures that look alike differ in few of their 64 bits.
_ALIKE_BITS = 3
# Pictures with the same sixteen bits; larger groups are of plain pictures and are not compared.
_MOST_CANDIDATES = 200
_LISTED = 100


def summarise(listing: Listing, decoded: Decoded) -> dict[str, Any]:
    """Return the facts of a data set as values for JSON.

    Returns:
        variant, classes (number), pictures, broken,
        drawn_test (whether test pictures were drawn), split_seed (by which; None if they were
        not), listing_sha256; per_class: numbers of good pictures by part and class; imbalance:
        the largest class of the training pictures as a multiple of the smallest; sizes: width,
        height and aspect ratio as smallest, median and largest; formats: numbers by format;
        turned: number of pictures that EXIF data turn; broken_files: names and reasons;
        repeated: groups of names with the same content in several parts; alike: pairs of names
        in several parts that look alike; conflicting: groups of names with the same content in
        several classes. Lists end after 100 entries, the numbers `repeated_pictures`,
        `alike_pairs` and `conflicting_pictures` count all.
    """
    facts = decoded.facts
    good = np.flatnonzero(facts["state"] == GOOD)
    repeated, conflicting = _repetitions(listing, decoded)
    alike = list(_alike(listing, decoded))
    per_class = {
        part: dict.fromkeys(listing.class_names, 0)
        for part in PARTS
        if any(row.part == part for row in listing.pictures)
    }
    for row in good.tolist():
        each = listing.pictures[row]
        per_class[each.part][listing.class_names[each.label]] += 1
    trained = per_class["train"].values()
    kinds = Counter(facts["kind"][good].tolist())
    return {
        "variant": listing.variant,
        "classes": len(listing.class_names),
        "pictures": len(facts),
        "broken": len(decoded.reasons),
        "drawn_test": listing.drawn,
        "split_seed": listing.split_seed if listing.drawn else None,
        "listing_sha256": listing.sha256(),
        "per_class": per_class,
        "imbalance": round(max(trained) / max(1, min(trained)), 2),
        "sizes": _sizes(decoded) if len(good) else {},
        "formats": {KINDS[kind]: count for kind, count in sorted(kinds.items())},
        "turned": int(facts["turned"][good].sum()),
        "broken_files": [
            {"name": listing.pictures[row].picture.name, "reason": reason}
            for row, reason in sorted(decoded.reasons.items())[:_LISTED]
        ],
        "repeated_pictures": sum(map(len, repeated)),
        "repeated": repeated[:_LISTED],
        "alike_pairs": len(alike),
        "alike": alike[:_LISTED],
        "conflicting_pictures": sum(map(len, conflicting)),
        "conflicting": conflicting[:_LISTED],
    }


def for_card(summary: dict[str, Any]) -> dict[str, Any]:
    """Return the part of a summary that is published: numbers, and no names of files."""
    names = ("broken_files", "repeated", "alike", "conflicting")
    return {name: value for name, value in summary.items() if name not in names}


def _sizes(decoded: Decoded) -> dict[str, list[float]]:
    good = decoded.facts[decoded.facts["state"] == GOOD]
    width, height = good["width"].astype(np.float64), good["height"].astype(np.float64)
    ranges = {"width": width, "height": height, "aspect_ratio": width / height}
    return {
        name: [round(float(value), 3) for value in (of.min(), np.median(of), of.max())]
        for name, of in ranges.items()
    }


def _repetitions(listing: Listing, decoded: Decoded) -> tuple[list[list[str]], list[list[str]]]:
    """Return the names of equal files in several parts, and in several classes."""
    groups: dict[bytes, list[int]] = defaultdict(list)
    for row in np.flatnonzero(decoded.facts["state"] == GOOD).tolist():
        groups[decoded.facts["content"][row].tobytes()].append(row)
    same = [[listing.pictures[row] for row in rows] for rows in groups.values() if len(rows) > 1]

    def named(groups: list[Any]) -> list[list[str]]:
        return sorted([each.picture.name for each in group] for group in groups)

    return (
        named([group for group in same if len({each.part for each in group}) > 1]),
        named([group for group in same if len({each.label for each in group}) > 1]),
    )


def _alike(listing: Listing, decoded: Decoded) -> Iterator[list[str]]:
    """Yield pairs of pictures in several parts that look alike and are not the same file.

    Two hashes that differ in three bits or fewer are equal in one of their four quarters.
    """
    facts = decoded.facts
    rows = np.flatnonzero((facts["state"] == GOOD) & (facts["look"] != 0))
    looks = facts["look"][rows]
    found: set[tuple[int, int]] = set()
    for quarter in range(4):
        groups: dict[int, list[int]] = defaultdict(list)
        keys = (looks >> np.uint64(16 * quarter)) & np.uint64(0xFFFF)
        for row, key in zip(rows.tolist(), keys.tolist(), strict=True):
            groups[key].append(row)
        for group in groups.values():
            if len(group) > _MOST_CANDIDATES:
                continue
            for first, second in combinations(group, 2):
                bits = int(facts["look"][first] ^ facts["look"][second]).bit_count()
                if bits <= _ALIKE_BITS and (
                    listing.pictures[first].part != listing.pictures[second].part
                    and facts["content"][first].tobytes() != facts["content"][second].tobytes()
                ):
                    found.add((first, second))
    for first, second in sorted(found):
        yield [listing.pictures[row].picture.name for row in (first, second)]
