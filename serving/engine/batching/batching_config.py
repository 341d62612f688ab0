"""How requests are gathered into batches."""

from dataclasses import dataclass, replace


@dataclass(frozen=True, kw_only=True)
class BatchingConfig:
    """How requests are gathered; names are TensorFlow Serving's.

    Attributes:
        enabled: Whether requests may share a run at all.
        forced_by: The setting that has rows taken for independent without a proof; empty for none.
        max_batch_size: Most rows of one run; larger requests are split.
        allowed_batch_sizes: Sizes that batches are padded to, ascending, the last one equal to
            `max_batch_size`. Empty: no padding. A GPU wants few sizes, because it tunes its kernels
            for each; a CPU runs any size, and padding would only add work.
        batch_timeout_micros: Microseconds that a worker waits for more rows; 0: not at all.
        max_enqueued_rows: Rows that may wait or run; more are refused at once.
    """

    enabled: bool = True
    forced_by: str = ""
    max_batch_size: int = 64
    allowed_batch_sizes: tuple[int, ...] = ()
    batch_timeout_micros: int = 0
    max_enqueued_rows: int = 10_000

    def for_gpu(self) -> "BatchingConfig":
        """The same with powers of two as allowed sizes, unless sizes were chosen already."""
        if self.allowed_batch_sizes:
            return self
        sizes = [1 << power for power in range(self.max_batch_size.bit_length())]
        sizes = [size for size in sizes if size < self.max_batch_size]
        return replace(self, allowed_batch_sizes=(*sizes, self.max_batch_size))

    def padded_size(self, rows: int) -> int:
        """The size that a batch of so many rows is run with."""
        return next((size for size in self.allowed_batch_sizes if size >= rows), rows)
