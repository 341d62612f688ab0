"""The candidates of a recommendation: recipes, each with its finished runs."""

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from training.report.sources.runs import RunRecord


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A recipe with its finished runs, which differ in the seed alone.

    Attributes:
        name: Model, recipe and the settings that differ from the recipe.
        runs: One or more.
        macs: Multiply-accumulates for one image; None if the architecture is unknown.
    """

    name: str
    runs: tuple[RunRecord, ...]
    macs: int | None

    @property
    def held_out_shares(self) -> list[float]:
        """Accuracy on held-out training images of each run that records it, 0 to 1."""
        return [run.held_out.share for run in self.runs if run.held_out]

    @property
    def held_out(self) -> float | None:
        """Mean accuracy on held-out images, which ranks the recipe; None if a run lacks it."""
        shares = self.held_out_shares
        return statistics.fmean(shares) if len(shares) == len(self.runs) else None

    @property
    def shares(self) -> list[float]:
        """Test accuracy of each run, 0 to 1."""
        return [run.result["top1"] for run in self.runs]

    @property
    def top1(self) -> float:
        """Mean test accuracy, 0 to 1."""
        return statistics.fmean(self.shares)

    @property
    def deviation(self) -> float | None:
        """Sample standard deviation of the test accuracy; None for a single run."""
        return statistics.stdev(self.shares) if len(self.runs) > 1 else None

    @property
    def seeds(self) -> list[int]:
        """Seeds of the runs, ascending; a seed that was used twice is listed twice."""
        return sorted(run.settings["seed"] for run in self.runs)

    @property
    def seconds(self) -> float:
        """Mean training time."""
        return statistics.fmean(run.result["wall_seconds"] for run in self.runs)

    @property
    def parameters(self) -> int:
        """Number of the model's weights."""
        return int(self.runs[0].result["parameters"])

    @property
    def hardware(self) -> set[str]:
        """Machines of the runs, in words."""
        return {hardware(run) for run in self.runs}

    @property
    def digests(self) -> tuple[str, str]:
        """Digests of the training and the test images."""
        data = self.runs[0].data
        return str(data["train_sha256"]), str(data["test_sha256"])


def gather(runs: Iterable[RunRecord], macs: Mapping[str, int]) -> list[Candidate]:
    """Group the finished runs by recipe and data set.

    The group that is the most accurate on held-out images is first. Groups without such images are
    last, in the order of their names.

    Args:
        runs: Finished or not.
        macs: The known multiply-accumulates, by name of the run.
    """
    groups: dict[tuple[str, str, str], list[RunRecord]] = {}
    for run in runs:
        if run.is_finished:
            key = (run.recipe, str(run.data["train_sha256"]), str(run.data["test_sha256"]))
            groups.setdefault(key, []).append(run)
    recipes = [recipe for recipe, *_ in groups]
    candidates = [
        Candidate(
            # The digest is needed only where one recipe was trained on several data sets.
            name=recipe if recipes.count(recipe) == 1 else f"{recipe}, data {train[:8]}",
            runs=tuple(sorted(members, key=lambda run: run.settings["seed"])),
            macs=macs.get(members[0].name),
        )
        for (recipe, train, _), members in groups.items()
    ]
    return sorted(candidates, key=lambda candidate: rank(candidate.held_out, candidate.name))


def rank(held_out: float | None, name: str) -> tuple[bool, float, str]:
    """Return a sort key by the accuracy on held-out images, the highest first, unknown ones last.

    The accuracy on test images decides nothing, not even between equals.
    """
    return held_out is None, -(held_out or 0.0), name


def hardware(run: RunRecord) -> str:
    """Return the machine of a run in words."""
    facts = run.result.get("hardware") or {}
    gpus = ", ".join(facts.get("gpus") or []) or "no GPU"
    return f"{facts.get('cpu') or 'unknown processor'}, {facts.get('cores', '?')} cores, {gpus}"
