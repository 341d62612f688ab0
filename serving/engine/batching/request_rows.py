"""The outputs of one request of a batch: some rows of the outputs of the whole batch."""

from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import Any, TypeVar

import numpy as np

from serving.engine.batching.request_queue import Arrays

Made = TypeVar("Made")


class RequestRows(Mapping[str, np.ndarray]):
    """Arrays by output alias. The rows are cut out of the batch's arrays when they are looked up.

    A protocol may instead encode the whole batch once, with `of_batch`, and cut the bytes.

    Attributes:
        start: Number of the request's first row in the batch.
        end: Number of the row behind its last one.
    """

    __slots__ = ("_batch", "_made", "end", "start")

    def __init__(self, batch: Arrays, made: dict[Hashable, Any], start: int, end: int) -> None:
        """Describe the rows.

        Args:
            batch: The outputs of the batch by alias.
            made: Holds the results of `of_batch`; all requests of the batch share it.
            start: See the attribute.
            end: See the attribute.
        """
        self._batch = batch
        self._made = made
        self.start = start
        self.end = end

    def __getitem__(self, alias: str) -> np.ndarray:
        return self._batch[alias][self.start : self.end]

    def __iter__(self) -> Iterator[str]:
        return iter(self._batch)

    def __len__(self) -> int:
        return len(self._batch)

    def of_batch(self, key: Hashable, make: Callable[[Arrays], Made]) -> Made:
        """Return what `make` makes of the outputs of the whole batch; it is called once a batch.

        Call this from the event loop only.

        Args:
            key: Stands for `make` and whatever else its result depends on.
            make: Takes the arrays by alias, which may have rows of padding at their end.
        """
        made = self._made
        if key not in made:
            made[key] = make(self._batch)
        result: Made = made[key]
        return result
