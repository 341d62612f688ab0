"""Settings of the batcher."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

# Rows of the largest run if no setting gives them. A CPU computes most models as fast in batches of
# 64 as in larger ones; a GPU needs more rows to be busy.
ROWS_ON_CPU, ROWS_ON_CUDA = 64, 256


@dataclass(frozen=True, kw_only=True)
class BatchingConfig:
    """Settings of the batcher, named after TensorFlow Serving's.

    Attributes:
        enabled: Whether requests may share a run at all.
        forced_by: Name of the setting that makes requests share runs without a proof that rows are
            independent; empty if no setting does.
        max_batch_size: Most rows of one run; larger requests are split.
        max_batch_size_on_cuda: Most rows of one run on CUDA if the recorded proofs of row
            independence cover that many; 0: `max_batch_size`, because a setting gives it.
        allowed_batch_sizes: Sizes that batches are padded to, ascending, the last one equal to
            `max_batch_size`. Empty: no padding. On a GPU few sizes are better, because kernels are
            tuned for each size; a CPU runs any size, and padding would only add work.
        batch_timeout_micros: Microseconds that a worker thread waits for more rows; 0: no waiting.
        max_enqueued_rows: Limit of the rows that wait or run; a request that would exceed it is
            refused at once. Cancelled requests do not count.
    """

    enabled: bool = True
    forced_by: str = ""
    max_batch_size: int = ROWS_ON_CPU
    max_batch_size_on_cuda: int = 0
    allowed_batch_sizes: tuple[int, ...] = ()
    batch_timeout_micros: int = 0
    max_enqueued_rows: int = 10_000

    def for_cuda(self, proved_rows: int | None) -> "BatchingConfig":
        """Return these settings for CUDA: larger batches, and few sizes of them.

        Args:
            proved_rows: Rows of the largest batch that the recorded proofs of row independence
                cover; None if a signature has no recorded proof.
        """
        most = max(self.max_batch_size, min(self.max_batch_size_on_cuda, proved_rows or 0))
        return replace(self, max_batch_size=most).in_powers_of_two()

    def in_powers_of_two(self) -> "BatchingConfig":
        """Return these settings with powers of two as allowed sizes, unless sizes are set."""
        if self.allowed_batch_sizes:
            return self
        sizes = [1 << power for power in range(self.max_batch_size.bit_length())]
        sizes = [size for size in sizes if size < self.max_batch_size]
        return replace(self, allowed_batch_sizes=(*sizes, self.max_batch_size))

    def changed(self, changes: Mapping[str, int]) -> "BatchingConfig":
        """Return these settings with other values of some fields, by name.

        A new `max_batch_size` also replaces the settings that would enlarge it or pad to it.
        """
        fields: dict[str, Any] = {}
        if "max_batch_size" in changes:
            fields = {"max_batch_size_on_cuda": 0, "allowed_batch_sizes": ()}
        return replace(self, **fields, **dict[str, Any](changes))

    def limited_to(self, sizes: tuple[int, ...]) -> "BatchingConfig":
        """Return these settings with other allowed sizes, ascending; batches fill the last one."""
        return replace(self, max_batch_size=sizes[-1], allowed_batch_sizes=sizes)

    def padded_size(self, rows: int) -> int:
        """Return the smallest allowed size of at least `rows`; `rows` if there is none."""
        return next((size for size in self.allowed_batch_sizes if size >= rows), rows)
