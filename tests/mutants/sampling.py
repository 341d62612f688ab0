"""Draws the sample of mutants to try. It depends only on a seed and on the mutants' names."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from mutants.mutations import Mutant, mutants_of

# The packages that have a score, each with the folders whose files are mutated.
PACKAGES: Mapping[str, Sequence[str]] = {
    "serving/engine": ("serving/engine",),
    "serving/protocols": ("serving/protocols",),
    "loadtest": ("loadtest/figures", "loadtest/verdict", "loadtest/capacity"),
    "export/gates": ("export/gates",),
}


def package_of(file: str) -> str:
    """Return the package that a file belongs to.

    Raises:
        KeyError: The file belongs to none of the packages.
    """
    for package, folders in PACKAGES.items():
        if file.startswith(tuple(f"{folder}/" for folder in folders)):
            return package
    raise KeyError(file)


def find_mutants(root: Path) -> dict[str, list[Mutant]]:
    """Return all mutants by package."""
    return {
        package: [
            mutant
            for folder in folders
            for file in sorted((root / folder).rglob("*.py"))
            for mutant in mutants_of(root, file.relative_to(root).as_posix())
        ]
        for package, folders in PACKAGES.items()
    }


def sizes(counts: Mapping[str, int], *, total: int, least: int) -> dict[str, int]:
    """Return how many mutants to draw from each package.

    Args:
        counts: Number of mutants by package.
        total: Approximate number of mutants to draw, shared in proportion to the counts.
        least: Smallest number for a package; a package with fewer mutants gives all of them.
    """
    everything = sum(counts.values())
    return {
        package: min(count, max(least, round(total * count / everything)))
        for package, count in counts.items()
    }


def draw(mutants: Iterable[Mutant], size: int, seed: int) -> list[Mutant]:
    """Return the `size` valid mutants that come first in the order of `rank`.

    If an edit of the source adds or removes mutants, only these can join or leave the sample, and
    the last mutants of the sample can give way to them or take their places.
    """
    ranked = sorted(mutants, key=lambda mutant: rank(mutant.name, seed))
    drawn: list[Mutant] = []
    for mutant in ranked:
        if len(drawn) == size:
            break
        if mutant.valid:
            drawn.append(mutant)
    return drawn


def rank(name: str, seed: int) -> bytes:
    """Return a mutant's sort key: a hash of seed and name, which mixes files and packages."""
    return hashlib.sha256(f"{seed} {name}".encode()).digest()
