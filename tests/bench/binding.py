"""Compares bound runs with other runs: `python tests/bench/binding.py`.

Loads a model twice, with `io_binding` on and off, and sends each servable the same requests from an
event loop in this process, without a network: `Servable.predict` until the answer. Both are loaded
again after every few pairs, in the other order. The process is pinned to one core: between two,
waking the worker thread takes as long as a run of SimCNN, and not always the same. The two take
turns in pairs, each pair in the opposite order of the pair before, because the speed of a shared
machine drifts; on a busy machine many short pairs (`--pairs 51 --rows 24`) tell more than 9 long
ones. Compared are the CPU time of the process and the rows a second. The result is the
median of the pairs' ratios (bound / other) with a 95 % interval from a bootstrap over the pairs. A
batch has 1 row or 64, the smallest and the largest buffers on a CPU: neither is padded, and so both
sides compute the same rows. The last line of output is a JSON document.
"""

import argparse
import asyncio
import json
import os
import sys
import time
from typing import Any

import numpy as np
from against import compare, in_turns
from harness import ROOT, SERVER_CORE, example

from serving.engine.batching.batching_config import BatchingConfig
from serving.engine.runtime import RuntimeConfig
from serving.engine.servable import Servable

MODELS = ("simcnn", "resnet50")
BATCHES = (1, 64)
# Where a model's memory lies changes its speed by a percent or two, in all runs until it is loaded
# again.
_PAIRS_A_LOAD = 3


def load(model: str, io_binding: str) -> Servable:
    """Load a bundled model with one worker thread."""
    config = RuntimeConfig(device="cpu", io_binding=io_binding)
    return Servable.load(model, 1, ROOT / "models" / model / "1", config, BatchingConfig())


def measure(servable: Servable, inputs: dict[str, np.ndarray], runs: int) -> dict[str, float]:
    """Send requests one after another; return the CPU time of a run in µs, and rows a second."""
    rows = len(next(iter(inputs.values())))

    async def ask() -> None:
        for _ in range(runs):
            await servable.predict("serving_default", inputs, ["probabilities"])

    cpu, started = time.process_time(), time.perf_counter()
    asyncio.run(ask())
    seconds = time.perf_counter() - started
    return {
        "cpu_us_per_run": 1e6 * (time.process_time() - cpu) / runs,
        "rows_per_second": rows * runs / seconds,
    }


def pairs_of(model: str, rows: int, runs: int, pairs: int) -> dict[str, list[dict[str, float]]]:
    """Measure pairs of runs; return the figures of each side."""
    inputs = example(model, rows)
    sides: dict[str, list[dict[str, float]]] = {}
    for number in range(-(-pairs // _PAIRS_A_LOAD)):
        order = ("on", "off") if number % 2 else ("off", "on")
        loaded = {io_binding: load(model, io_binding) for io_binding in order}
        for servable in loaded.values():
            measure(servable, inputs, max(10, runs // 10))
        measured = in_turns(
            min(_PAIRS_A_LOAD, pairs - number * _PAIRS_A_LOAD),
            lambda: measure(loaded["off"], inputs, runs),  # noqa: B023 - called at once
            lambda: measure(loaded["on"], inputs, runs),  # noqa: B023 - called at once
        )
        for side, figures in measured.items():
            sides.setdefault(side, []).extend(figures)
        for servable in loaded.values():
            servable.close()
    return sides


def main() -> None:
    """Run the comparisons; print a line for each figure, and a JSON document."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pairs", type=int, default=9, help="pairs of runs (default: 9)")
    parser.add_argument(
        "--rows", type=int, default=2000, help="images in a run of ResNet50 (default: 2000)"
    )
    parser.add_argument("--only", default="", help="only comparisons with this in their name")
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {SERVER_CORE})
    results: dict[str, Any] = {}
    for model in MODELS:
        for rows in BATCHES:
            if arguments.only not in f"{model}, {rows} rows":
                continue
            share = 1 if model == "resnet50" else 10
            runs = max(1, share * arguments.rows // rows)
            sides = pairs_of(model, rows, runs, arguments.pairs)
            for figure in ("cpu_us_per_run", "rows_per_second"):
                result = compare(*([each[figure] for each in sides[side]] for side in sides))
                results[f"{model}, {rows} rows, {figure}"] = result
                low, high = result["ratio_interval_95"]
                print(
                    f"{model:<9} {rows:3} rows {figure:<16} {result['base']:9.5g} -> "
                    f"{result['now']:9.5g}, ratio {result['ratio']:.3f} ({low:.3f} to {high:.3f})",
                    flush=True,
                )
    print(json.dumps(results))


if __name__ == "__main__":
    sys.exit(main())
