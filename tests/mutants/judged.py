"""The list of survivors that are judged equivalent: no test can tell them from the original."""

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path

from mutants.mutations import Mutant

LIST = Path(__file__).with_name("equivalent.toml")


def read(file: Path = LIST) -> dict[str, dict[str, str]]:
    """Read the entries: dictionaries with `name`, `change` and `reason`, by the mutant's name.

    Raises:
        ValueError: An entry lacks one of these keys, or two entries have the same name.
    """
    entries: dict[str, dict[str, str]] = {}
    for entry in tomllib.loads(file.read_text())["equivalent"]:
        if entry.keys() != {"name", "change", "reason"} or not all(entry.values()):
            msg = f"{file.name}: entry {entry} expected name, change and reason, none of them empty"
            raise ValueError(msg)
        if entry["name"] in entries:
            msg = f"{file.name}: two entries are named {entry['name']}; delete one"
            raise ValueError(msg)
        entries[entry["name"]] = entry
    return entries


def applies(mutant: Mutant, entries: Mapping[str, Mapping[str, str]]) -> bool:
    """Return whether a mutant is judged equivalent: an entry has its name and its change."""
    entry = entries.get(mutant.name)
    return entry is not None and entry["change"].strip() == mutant.change


def outdated(mutants: Iterable[Mutant], entries: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Return the names of the entries that apply to none of the mutants any more."""
    fitting = {mutant.name for mutant in mutants if applies(mutant, entries)}
    return sorted(entries.keys() - fitting)
