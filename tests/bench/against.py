"""Compares this checkout's server with an earlier commit's: `make bench-against BASE=<commit>`.

Both servers run at the same time, pinned to one core, and are measured alternately. Each pair is
measured in the opposite order of the pair before, so that the drift of a shared machine affects
both. Both servers are restarted after every third pair, because the memory layout of a process
makes it faster or slower for its whole life. The CPU time is compared, which other processes on the
machine disturb least. The result is the median of the pairs' ratios (now / base) with a 95 %
interval from a bootstrap over the pairs. The last line of output is a JSON document.
"""

import argparse
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from harness import (
    INFER_PATH,
    ROOT,
    SERVER_CORE,
    Load,
    Server,
    infer_body,
    request_body,
    rest_body,
    rest_path,
    serve,
    write_null_model,
)

RESAMPLES = 10_000
Figure = TypeVar("Figure")
IN_FLIGHT = 32
PAIRS_A_START = 3
Measure = Callable[[Server], Load]


@contextlib.contextmanager
def worktree(commit: str) -> Iterator[Path]:
    """Provide a temporary checkout of another commit."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "base"
        git = ("git", "-C", str(ROOT), "worktree")
        subprocess.run([*git, "add", "--quiet", "--detach", str(path), commit], check=True)
        try:
            yield path
        finally:
            subprocess.run([*git, "remove", "--force", str(path)], check=True)


def compare(base: list[float], now: list[float]) -> dict[str, Any]:
    """Return the medians of both sides, and the median ratio with its 95 % interval."""
    ratios = np.array(now) / np.array(base)
    draws = np.random.default_rng(0).integers(0, len(ratios), (RESAMPLES, len(ratios)))
    low, high = np.quantile(np.median(ratios[draws], axis=1), (0.025, 0.975))
    return {
        "pairs": len(ratios),
        "base": round(statistics.median(base), 4),
        "now": round(statistics.median(now), 4),
        "ratio": round(float(np.median(ratios)), 4),
        "ratio_interval_95": [round(float(low), 4), round(float(high), 4)],
    }


def in_turns(
    pairs: int, base: Callable[[], Figure], now: Callable[[], Figure]
) -> dict[str, list[Figure]]:
    """Measure both sides alternately; the order is reversed from pair to pair."""
    measured: dict[str, list[Figure]] = {"base": [], "now": []}
    sides = {"base": base, "now": now}
    for pair in range(pairs):
        for side in ("base", "now") if pair % 2 else ("now", "base"):
            measured[side].append(sides[side]())
    return measured


def measured_in_turns(
    checkout: Path, models_dir: Path, measure: Measure, pairs: int
) -> dict[str, list[Load]]:
    """Measure a load on the servers of both checkouts alternately."""
    cores = (SERVER_CORE,)
    loads: dict[str, list[Load]] = {"base": [], "now": []}
    while (left := pairs - len(loads["now"])) > 0:
        with (
            serve(models_dir, cores, checkout=checkout) as (base, _),
            serve(models_dir, cores) as (now, _),
        ):
            for server in (base, now):
                measure(server)  # warm-up: the first calls fill caches
            more = in_turns(
                min(left, PAIRS_A_START),
                lambda base=base: measure(base),
                lambda now=now: measure(now),
            )
        for side, figures in more.items():
            loads[side] += figures
    return loads


def calls(folder: Path, models: Path, requests: int) -> dict[str, tuple[Path, Measure]]:
    """Return the measurements by name: the folder of models to serve, and the load."""
    null = models / "null"
    write_null_model(null)

    def predict(
        server: Server, model: str, rows: int, share: int = 1, in_flight: int = IN_FLIGHT
    ) -> Load:
        body = request_body(folder, model, rows)
        return server.load(body, in_flight=in_flight, requests=requests // share)

    def infer(server: Server, model: str, share: int) -> Load:
        body = infer_body(folder, model, 1)
        return server.load(body, in_flight=IN_FLIGHT, requests=requests // share, path=INFER_PATH)

    def rest(server: Server, rows: int) -> Load:
        body = rest_body(folder, "identity", rows)
        path = rest_path("identity")
        return server.load(body, in_flight=IN_FLIGHT, requests=requests // 2, path=path)

    bundled = ROOT / "models"
    return {
        "null Predict, 32 in flight": (null, lambda server: predict(server, "identity", 1)),
        "null ModelInfer, 32 in flight": (null, lambda server: infer(server, "identity", 2)),
        "null REST predict, 1 row, 32 in flight": (null, lambda server: rest(server, 1)),
        "null REST predict, 32 rows, 32 in flight": (null, lambda server: rest(server, 32)),
        "simcnn, 32 in flight": (bundled, lambda server: predict(server, "simcnn", 1, 4)),
        "simcnn, 128 in flight": (bundled, lambda server: predict(server, "simcnn", 1, 4, 128)),
        "simcnn ModelInfer, 32 in flight": (bundled, lambda server: infer(server, "simcnn", 4)),
        "resnet50, 32 in flight": (bundled, lambda server: predict(server, "resnet50", 1, 40)),
        "simcnn, batches of 32": (bundled, lambda server: predict(server, "simcnn", 32, 40)),
    }


def start_up(checkout: Path, models_dir: Path) -> float:
    """Return the CPU seconds that a server takes from its start to its first answer."""
    with serve(models_dir, (SERVER_CORE,), checkout=checkout) as (server, _):
        return server.cpu_seconds()


def main() -> None:
    """Run the chosen measurements; print a line for each, and a JSON document."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("base", help="the commit to compare with")
    parser.add_argument("--pairs", type=int, default=15, help="pairs of runs (default: 15)")
    parser.add_argument(
        "--requests", type=int, default=50_000, help="null Predicts in a run (default: 50000)"
    )
    parser.add_argument("--only", default="", help="run only measurements with this in their name")
    arguments = parser.parse_args()
    results: dict[str, Any] = {}

    def report(name: str, result: dict[str, Any], unit: str) -> None:
        results[name] = result | {"unit": unit}
        low, high = result["ratio_interval_95"]
        print(
            f"{name:<48} {result['base']:9.4g} -> {result['now']:9.4g} {unit}, "
            f"ratio {result['ratio']:.3f} ({low:.3f} to {high:.3f})",
            flush=True,
        )

    with worktree(arguments.base) as checkout, tempfile.TemporaryDirectory() as folder:
        models = Path(folder) / "models"
        for name, (models_dir, measure) in calls(Path(folder), models, arguments.requests).items():
            if arguments.only not in name:
                continue
            loads = measured_in_turns(checkout, models_dir, measure, arguments.pairs)
            cpu, rate = (
                compare(*([getattr(load, figure) for load in loads[side]] for side in loads))
                for figure in ("cpu_us_per_request", "requests_per_second")
            )
            report(name, cpu, "us of CPU a request")
            report(f"{name}, rate", rate, "requests/s")
        name = "start-up"
        if arguments.only in name:
            null = models / "null"
            starts = in_turns(
                arguments.pairs, lambda: start_up(checkout, null), lambda: start_up(ROOT, null)
            )
            report(name, compare(starts["base"], starts["now"]), "s of CPU")
    print(json.dumps(results))


if __name__ == "__main__":
    sys.exit(main())
