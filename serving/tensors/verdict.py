"""The verdict on a signature: whether its rows are shown to be independent of each other."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What `row_independence.prove` found out about one signature of one graph.

    Attributes:
        independent: Whether every row of the outputs was shown to depend on the same row of the
            inputs alone. Only then may requests share a run, and large ones be split.
        evidence: One sentence that says what was seen.
        max_batch_size: Most rows of a batch that was tried.
    """

    independent: bool
    evidence: str
    max_batch_size: int = 0

    def to_json(self) -> dict[str, Any]:
        """The entry of this verdict in signature.json."""
        return asdict(self)

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> "Verdict":
        """Read an entry of signature.json.

        Raises:
            KeyError, TypeError, ValueError: a field is missing or of the wrong kind.
        """
        independent = entry["independent"]
        if type(independent) is not bool:
            msg = f"independent is {independent!r}, expected true or false"
            raise ValueError(msg)
        return cls(
            independent=independent,
            evidence=str(entry["evidence"]),
            max_batch_size=int(entry["max_batch_size"]),
        )
