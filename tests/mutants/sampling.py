"""Which mutants are tried: all, or a sample that a seed and the mutants' names alone decide."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from mutants.mutations import Mutant, mutants_of

# What is mutated: the packages whose scores are told, and their folders.
PACKAGES: Mapping[str, Sequence[str]] = {
    "serving/engine": ("serving/engine",),
    "serving/protocols": ("serving/protocols",),
    "loadtest": ("loadtest/figures", "loadtest/verdict", "loadtest/capacity"),
    "export/gates": ("export/gates",),
}


def package_of(file: str) -> str:
    """The package that a file belongs to; KeyError if it is none of them."""
    for package, folders in PACKAGES.items():
        if file.startswith(tuple(f"{folder}/" for folder in folders)):
            return package
    raise KeyError(file)


def find_mutants(root: Path) -> dict[str, list[Mutant]]:
    """All mutants by package."""
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
    """How many mutants to draw from each package.

    Args:
        counts: Mutants that each package has.
        total: Mutants to draw in all, shared in proportion to the counts.
        least: Mutants to draw from each package at least, or all that it has.
    """
    everything = sum(counts.values())
    return {
        package: min(count, max(least, round(total * count / everything)))
        for package, count in counts.items()
    }


def draw(mutants: Iterable[Mutant], size: int, seed: int) -> list[Mutant]:
    """The `size` mutants that come first by the hash of seed and name.

    An edit of the source adds mutants to the sample or takes them away where it adds or removes
    mutants; all others stay.
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
    """By which mutants are ordered; those of all packages are mixed."""
    return hashlib.sha256(f"{seed} {name}".encode()).digest()
