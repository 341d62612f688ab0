"""Measures starts with both bundled models, from a folder and from a web server.

In each round the server starts three times: from the local folder, from a web server with an empty
cache, and from the web server with the cache that this start has filled. A start ends when both
models have answered a Predict. The web server runs in this process, on the same machine: what is
measured is the work of fetching, not a network. The last line of output is a JSON document.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
from pathlib import Path

from harness import CLIENT_CORE, ROOT, SERVER_CORE, serve
from running.file_server import file_server

_MODELS = ("resnet50", "simcnn")


def measure(folder: Path, rounds: int) -> dict[str, list[float]]:
    """Return the seconds of each start, by source."""
    seconds: dict[str, list[float]] = {"folder": [], "http": [], "http, cached": []}

    def start(source: str, models_dir: Path | str, *flags: str) -> None:
        cores = (SERVER_CORE, CLIENT_CORE)
        with serve(models_dir, cores, *flags, models=_MODELS) as (_, elapsed):
            seconds[source].append(elapsed)

    with file_server(ROOT / "models") as store:
        for number in range(rounds):
            cache = ("--storage_cache_dir", str(folder / str(number)))
            start("folder", ROOT / "models")
            start("http", store.url, *cache)
            before = len(store.gets)
            start("http, cached", store.url, *cache)
            if any(".onnx" in path for path, _ in store.gets[before:]):
                sys.exit("a start with a filled cache has fetched a model again")
    return seconds


def main() -> None:
    """Measure, and print the medians."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="rounds (default: 5)")
    arguments = parser.parse_args()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        seconds = measure(Path(folder), arguments.rounds)
    for source, times in seconds.items():
        low, high = min(times), max(times)
        print(f"{source}: {statistics.median(times):.2f} s ({low:.2f} to {high:.2f})")
    print(json.dumps({"load_average": load, "seconds": seconds}))


if __name__ == "__main__":
    main()
