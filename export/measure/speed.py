"""Speed of a variant compared with the float32 model, on one thread of this machine."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt

from export.measure import stopwatch
from serving.engine.runtime import Runtime, RuntimeConfig
from serving.repository.model_folder import Precision

BATCH_SIZES = (1, 32)
_ROUNDS = 7
_SECONDS = 0.2


@dataclass(frozen=True, kw_only=True)
class SpeedComparison:
    """Times of a variant and of the float32 model by batch size.

    Attributes:
        fp32_ms: Milliseconds a batch of the float32 model, median of all turns.
        ms: Milliseconds a batch of the variant, median of all turns.
        speedup: The variant's speed as a multiple of the float32 model's, median of the rounds.
    """

    fp32_ms: Mapping[int, float]
    ms: Mapping[int, float]
    speedup: Mapping[int, float]

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready values for metrics.json."""
        return {
            "threads": 1,
            "batches": {
                str(batch): {
                    "fp32_ms": round(self.fp32_ms[batch], 4),
                    "ms": round(self.ms[batch], 4),
                    "speedup": round(self.speedup[batch], 3),
                }
                for batch in self.speedup
            },
        }


def measure(
    fp32_file: Path, file: Path, precision: Precision, rows: Mapping[str, npt.NDArray[Any]]
) -> SpeedComparison:
    """Time a variant and the float32 model in turns, on one thread, with the server's settings.

    Args:
        fp32_file: The float32 graph.
        file: The variant's graph.
        precision: Precision of the variant.
        rows: Rows for every input, by tensor name; repeated if a batch needs more.
    """
    config = RuntimeConfig(device="cpu", intra_op_threads=1)
    fp32, candidate = Runtime(fp32_file, config), Runtime(file, config, precision)
    outputs = list(fp32.outputs)
    fp32_ms, ms, speedup = {}, {}, {}
    for batch in BATCH_SIZES:
        feeds = {name: np.resize(array, (batch, *array.shape[1:])) for name, array in rows.items()}
        turns = stopwatch.in_turns(
            {
                "fp32": partial(fp32.run, outputs, feeds),
                "variant": partial(candidate.run, outputs, feeds),
            },
            rounds=_ROUNDS,
            seconds=_SECONDS,
        )
        fp32_ms[batch] = median(turn.ms for turn in turns["fp32"])
        ms[batch] = median(turn.ms for turn in turns["variant"])
        speedup[batch] = median(
            slow.ms / fast.ms for slow, fast in zip(turns["fp32"], turns["variant"], strict=True)
        )
    return SpeedComparison(fp32_ms=fp32_ms, ms=ms, speedup=speedup)
