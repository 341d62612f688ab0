"""The recorded classes of a model, which its answers must equal, and the near ties among them."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from loadtest.generator.recording import Integers

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class RecordedClasses:
    """The class that a model gave each row when it was recorded.

    Attributes:
        classes: int64, shape (rows,): the recorded class of each row; -1 if it was not recorded.
        near_ties: int64, shape (rows, k): the classes that nearly won, -1 at unused places; None
            without a record of them. See `training.evaluation.predictions`.
        margin: How much less probable than the winner these classes are at most; None without.
    """

    classes: Integers
    near_ties: Integers | None = None
    margin: float | None = None

    @property
    def rule(self) -> str:
        """When an answer equals the recorded one, in words."""
        if self.margin is None:
            return "the same class"
        return (
            f"the same class, or one whose recorded probability is at most {self.margin:g} below "
            "the highest: a near tie, which another processor may decide the other way"
        )

    def took_near_tie(self, answered: Integers, rows: Integers) -> Flags:
        """Return whether an answer is not the recorded class but one that nearly won.

        Args:
            answered: int64, any shape: answered classes.
            rows: int64, the same shape: the row of each; -1 at unused places.

        Returns:
            bool, the same shape.
        """
        if self.near_ties is None:
            return np.zeros(answered.shape, np.bool_)
        near = (answered[..., None] == self.near_ties[rows]).any(axis=-1)
        return np.asarray(near & (answered >= 0) & (rows >= 0))

    def differ(self, answered: Integers, rows: Integers) -> Flags:
        """Return whether an answer is neither the recorded class nor one that nearly won.

        Args and result are those of `took_near_tie`.
        """
        other = answered != self.classes[rows]
        return np.asarray((rows >= 0) & other & ~self.took_near_tie(answered, rows))
