"""The pictures of a data set with their classes and parts, before any of them is decoded."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Protocol, get_args

from training.data.cifar10 import DataError

Part = Literal["train", "validation", "test"]
PARTS: tuple[Part, ...] = get_args(Part)
# Names of a part's folder, or of a part in a table.
PART_NAMES: Mapping[str, Part] = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "test": "test",
}
# Share of each class that becomes test images if the data name none.
TEST_SHARE = 0.2


class SourcePicture(Protocol):
    """A picture that can be read."""

    @property
    def name(self) -> str:
        """Its path in the data set, which does not tell where the data set is."""

    @property
    def version(self) -> str:
        """A text that changes if the file does."""

    def content(self) -> bytes:
        """Read the content of the file.

        Raises:
            OSError: It cannot be read.
        """


@dataclass(frozen=True)
class PictureFile:
    """A picture in a file of its own.

    Attributes:
        path: The file.
        name: See SourcePicture.
    """

    path: Path
    name: str

    @property
    def version(self) -> str:
        """See SourcePicture: size and time of the last change."""
        try:
            stat = self.path.stat()
        except OSError:
            return "missing"
        return f"{stat.st_size} {stat.st_mtime_ns}"

    def content(self) -> bytes:
        """See SourcePicture."""
        return self.path.read_bytes()


@dataclass(frozen=True)
class Labelled:
    """A picture with its class and part.

    Attributes:
        picture: The picture.
        label: Index of its class.
        part: Its part.
    """

    picture: SourcePicture
    label: int
    part: Part


@dataclass(frozen=True, kw_only=True)
class Listing:
    """All pictures of a data set.

    Attributes:
        variant: See DataSet.variant.
        class_names: Names of the classes, sorted unless the data set numbers them.
        pictures: The pictures, by part, class and name.
        drawn: Whether the test pictures were drawn, because the data set names none.
        split_seed: Seed by which they were drawn; 0 if they were not.
    """

    variant: str
    class_names: tuple[str, ...]
    pictures: tuple[Labelled, ...]
    drawn: bool = False
    split_seed: int = 0

    def counts(self) -> dict[Part, Counter[int]]:
        """Return the number of pictures of each class, by part."""
        found: dict[Part, Counter[int]] = {part: Counter() for part in PARTS}
        for each in self.pictures:
            found[each.part][each.label] += 1
        return found

    def sha256(self) -> str:
        """Return the digest of the division: of part, class and name of every picture."""
        digest = hashlib.sha256()
        for each in self.pictures:
            row = f"{each.part}\t{self.class_names[each.label]}\t{each.picture.name}\n"
            digest.update(row.encode(errors="surrogateescape"))
        return digest.hexdigest()


def listed(
    variant: str,
    class_names: Sequence[str],
    rows: Sequence[Labelled],
    *,
    origin: Path,
    split_seed: int = 0,
) -> Listing:
    """Return the listing of pictures, with test pictures drawn if there are none.

    A fifth of each class is drawn, at least one picture, by the SHA-256 of the seed and the
    picture's name: the same pictures on every machine, whichever pictures are added later.

    Data with test pictures alone are listed, too; `check_trainable` refuses them.

    Args:
        variant: See Listing.
        class_names: See Listing.
        rows: The pictures in any order.
        origin: Folder or file of the data set, for messages.
        split_seed: Seed of the test pictures that are drawn.

    Raises:
        DataError: There are fewer than two classes, or some of the classes have no training
            pictures.
    """
    names = tuple(class_names)
    tested_alone = {row.part for row in rows} == {"test"}
    if len(names) < 2:
        raise DataError(_too_few_classes(names, origin, tested_alone=tested_alone))
    drawn = not any(row.part == "test" for row in rows)
    if drawn:
        rows = _with_test_part(rows, split_seed)
    order = {part: number for number, part in enumerate(PARTS)}
    ordered = sorted(rows, key=lambda row: (order[row.part], row.label, row.picture.name))
    listing = Listing(
        variant=variant,
        class_names=names,
        pictures=tuple(ordered),
        drawn=drawn,
        split_seed=split_seed if drawn else 0,
    )
    trained = listing.counts()["train"]
    untrained = [name for label, name in enumerate(names) if not trained[label]]
    if untrained and not tested_alone:
        few = "has too few pictures to train and to test" if drawn else "has no training pictures"
        msg = (
            f"{origin}: class {untrained[0]!r} {few}, expected two pictures or more of each class; "
            "add some, or remove the class everywhere"
        )
        raise DataError(msg)
    return listing


def check_trainable(listing: Listing, origin: Path | None) -> None:
    """Refuse data with test pictures alone, which only load tests and evaluations can use.

    Args:
        listing: The pictures.
        origin: Folder or file of the data set, for the message.

    Raises:
        DataError: There are no training pictures.
    """
    if not any(row.part == "train" for row in listing.pictures):
        msg = (
            f"{origin} has no training pictures, only {len(listing.pictures):,} for testing; "
            "expected train/CLASS/ beside test/CLASS/, or CLASS/ alone, of which a fifth is tested "
            "(a load test takes the folder as it is)"
        )
        raise DataError(msg)


def check_split_seed(listing: Listing | None, split_seed: int | None) -> None:
    """Refuse a seed of test pictures that are not drawn.

    Args:
        listing: The pictures; None for CIFAR-10, whose test images are given.
        split_seed: The seed that the user gave; None if none was given.

    Raises:
        DataError: The seed is given and not 0, and the data name their test pictures.
    """
    if split_seed and (listing is None or not listing.drawn):
        msg = (
            f"split seed {split_seed} received, but the data name their test pictures, so that "
            "none are drawn; leave --split-seed out"
        )
        raise DataError(msg)


def _too_few_classes(names: Sequence[str], origin: Path, *, tested_alone: bool) -> str:
    found = f"only the class {names[0]!r}" if names else "no class"
    if tested_alone:
        return (
            f"{origin} has test pictures of {found}, expected the two or more classes of the "
            "model; add an empty folder for each class without test pictures"
        )
    return (
        f"{origin} has {found}, expected two or more: a folder with pictures for each class, "
        "such as train/cat/1.jpg and train/dog/1.jpg"
    )


def _with_test_part(rows: Sequence[Labelled], seed: int) -> list[Labelled]:
    by_class: dict[int, list[Labelled]] = {}
    for row in rows:
        if row.part == "train":
            by_class.setdefault(row.label, []).append(row)
    result = [row for row in rows if row.part != "train"]
    for members in by_class.values():
        members.sort(key=lambda row: _rank(row.picture.name, seed))
        count = max(1, round(len(members) * TEST_SHARE))
        result += [replace(row, part="test") for row in members[:count]] + members[count:]
    return result


def _rank(name: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}:{name}".encode(errors="surrogateescape")).digest()
