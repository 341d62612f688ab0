"""Verdicts: whether the rows of a signature are proved to be independent of each other."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The result of `row_independence.prove` for one signature of one graph.

    Attributes:
        independent: Whether the probe found that each row of the outputs depends only on the same
            row of the inputs. Only then may requests share a run, and large requests be split.
        evidence: The reason for the verdict, in one sentence.
        max_batch_size: Rows of the largest batch that was probed.
    """

    independent: bool
    evidence: str
    max_batch_size: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return the entry of this verdict in signature.json."""
        return asdict(self)

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> "Verdict":
        """Read an entry of signature.json.

        Raises:
            KeyError, TypeError, ValueError: a field is missing or invalid.
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
