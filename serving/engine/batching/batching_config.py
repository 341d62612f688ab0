"""Settings of the batcher."""

from dataclasses import dataclass, replace


@dataclass(frozen=True, kw_only=True)
class BatchingConfig:
    """Settings of the batcher, named after TensorFlow Serving's.

    Attributes:
        enabled: Whether requests may share a run at all.
        forced_by: Name of the setting that makes requests share runs without a proof that rows are
            independent; empty if no setting does.
        max_batch_size: Most rows of one run; larger requests are split.
        allowed_batch_sizes: Sizes that batches are padded to, ascending, the last one equal to
            `max_batch_size`. Empty: no padding. On a GPU few sizes are better, because kernels are
            tuned for each size; a CPU runs any size, and padding would only add work.
        batch_timeout_micros: Microseconds that a worker thread waits for more rows; 0: no waiting.
        max_enqueued_rows: Limit of the rows that wait or run; a request that would exceed it is
            refused at once. Cancelled requests do not count.
    """

    enabled: bool = True
    forced_by: str = ""
    max_batch_size: int = 64
    allowed_batch_sizes: tuple[int, ...] = ()
    batch_timeout_micros: int = 0
    max_enqueued_rows: int = 10_000

    def for_gpu(self) -> "BatchingConfig":
        """Return these settings with powers of two as allowed sizes, unless sizes are set."""
        if self.allowed_batch_sizes:
            return self
        sizes = [1 << power for power in range(self.max_batch_size.bit_length())]
        sizes = [size for size in sizes if size < self.max_batch_size]
        return replace(self, allowed_batch_sizes=(*sizes, self.max_batch_size))

    def padded_size(self, rows: int) -> int:
        """Return the smallest allowed size of at least `rows`; `rows` if there is none."""
        return next((size for size in self.allowed_batch_sizes if size >= rows), rows)
