"""Compares null Predicts with the console open in a browser and closed: `make bench-console`.

One server is pinned to one core. A headless Chromium and h2load share another core, so that the
browser takes no time of the server's core; the rate of h2load therefore says less than the
server's CPU time of a request, which is the figure to read. Both sides are measured in turns, as in
`against.py`, whose statistics this script uses: with the page of the console open on its live view,
which asks for the figures each second, and with an empty page in the same browser. Each run lasts
some seconds, so that it has as many polls. The null model copies its input. The last line of output
is a JSON document.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from against import IN_FLIGHT, compare, in_turns
from harness import (
    CLIENT_CORE,
    SERVER_CORE,
    Load,
    Server,
    request_body,
    serve,
    write_null_model,
)
from running import browsers

_EMPTY = "about:blank"
_VIEW = "/#live"
# What a page fetches only once must not count as part of a run.
_LOADING_MS = 1500


@contextmanager
def browser_on_the_clients_core() -> Iterator[Any]:
    """Start a Chromium whose processes run on the core of the load generator."""
    own = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {CLIENT_CORE})  # child processes inherit it
    try:
        with browsers.driver() as driver, browsers.browser(driver) as browser:
            yield browser
    finally:
        os.sched_setaffinity(0, own)


def polls(server: Server, page: Any) -> list[str]:
    """Note the addresses that a page asks the server for, from now on."""
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    return asked


def measure(folder: Path, pairs: int, requests: int) -> tuple[dict[str, list[Load]], int]:
    """Measure both sides in turns: `base` is closed, `now` is open; return the number of polls."""
    models = folder / "models"
    write_null_model(models)
    body = request_body(folder, "identity", 1)
    with serve(models, (SERVER_CORE,)) as (server, _), browser_on_the_clients_core() as browser:
        page = browser.new_page()
        asked = polls(server, page)
        address = f"http://127.0.0.1:{server.port}{_VIEW}"

        def load(url: str) -> Load:
            page.goto(url)
            if url != _EMPTY:
                page.locator("figure").first.wait_for()
            page.wait_for_timeout(_LOADING_MS)
            # Playwright's events are handled in this thread, which h2load blocks; the browser's
            # own polls go on meanwhile, because they are made by its processes.
            measured = server.load(body, in_flight=IN_FLIGHT, requests=requests)
            page.wait_for_timeout(100)
            return measured

        for url in (_EMPTY, address):
            load(url)  # warm-up
        asked.clear()
        loads = in_turns(pairs, lambda: load(_EMPTY), lambda: load(address))
        return loads, sum(url.endswith("/console/figures") for url in asked)


def main() -> None:
    """Measure, and print the ratio of the CPU times and of the rates."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pairs", type=int, default=20, help="pairs of runs (default: 20)")
    parser.add_argument(
        "--requests", type=int, default=60_000, help="null Predicts in a run (default: 60000)"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        loads, polled = measure(Path(folder), arguments.pairs, arguments.requests)
    if not polled:
        sys.exit("the page has not asked for figures; is its window visible to Chromium?")
    failed = sum(load.failed for side in loads.values() for load in side)
    results: dict[str, Any] = {"failed": failed, "polls": polled}
    figures = {"cpu_us_per_request": "us of CPU a request", "requests_per_second": "requests/s"}
    for figure, unit in figures.items():
        result = compare(*([getattr(load, figure) for load in loads[side]] for side in loads))
        low, high = result["ratio_interval_95"]
        results[figure] = result
        print(
            f"null Predict: {result['base']:.4g} with the console closed -> {result['now']:.4g} "
            f"open, {unit}, ratio {result['ratio']:.3f} ({low:.3f} to {high:.3f})"
        )
    print(json.dumps(results))


if __name__ == "__main__":
    sys.exit(main())
