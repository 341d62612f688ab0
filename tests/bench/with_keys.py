"""Compares calls with an API key with calls to a server without keys: `make bench-keys`.

Both servers are of this checkout, run at the same time, are pinned to one core and are measured in
turns, as in `against.py`, whose statistics this script uses. The null model copies its input, so
that the check of the key is as large a part of a call as it can be. The keys file has 100 other
callers. With `--limits`, the key has a rate and a limit on calls in flight that the load does not
reach. The last line of output is a JSON document.
"""

import argparse
import json
import re
import sys
import tempfile
import urllib.request
from pathlib import Path

from against import IN_FLIGHT, compare, in_turns
from harness import SERVER_CORE, Load, Server, request_body, serve, write_null_model

from serving.access import keys_editor

_OTHERS = 100
# A start costs as much as many runs. The two servers differ by little more than the key, so that
# they need fewer new starts than two commits.
_PAIRS_A_START = 10


def write_keys_file(path: Path, *, with_limits: bool) -> str:
    """Write a keys file; return the key of one of its callers, perhaps with limits."""
    keys_editor.add(path, {"name": "bench", "roles": ["metrics"], "subject": "CN=bench"})
    key = keys_editor.new_key()
    limits = {"requests_per_second": 1e9, "burst": 1e9, "in_flight": 10_000}
    for number in range(_OTHERS):
        digest = keys_editor.digest_of(keys_editor.new_key())
        keys_editor.add(path, {"name": f"other{number}", "sha256": digest, "roles": ["predict"]})
    entry = {"name": "measured", "sha256": keys_editor.digest_of(key), "roles": ["predict"]}
    keys_editor.add(path, entry | (limits if with_limits else {}))
    return key


def measure(folder: Path, pairs: int, requests: int, *, with_limits: bool) -> dict[str, list[Load]]:
    """Measure both servers in turns: `base` has no keys, `now` has."""
    models, keys_file = folder / "models", folder / "keys.json"
    write_null_model(models)
    key = write_keys_file(keys_file, with_limits=with_limits)
    body = request_body(folder, "identity", 1)
    # The harness waits for an answer without a key; the measured calls send one.
    flags = ("--api_keys_file", str(keys_file), "--open_access", "health,predict,metrics")
    cores = (SERVER_CORE,)

    def load(server: Server, *headers: str) -> Load:
        return server.load(body, in_flight=IN_FLIGHT, requests=requests, headers=headers)

    loads: dict[str, list[Load]] = {"base": [], "now": []}
    while (left := pairs - len(loads["now"])) > 0:
        with serve(models, cores) as (without, _), serve(models, cores, *flags) as (with_keys, _):
            sides = {
                "base": lambda server=without: load(server),
                "now": lambda server=with_keys: load(server, f"authorization: Bearer {key}"),
            }
            for side in sides.values():
                side()  # warm-up: the first calls fill caches
            more = in_turns(min(left, _PAIRS_A_START), sides["base"], sides["now"])
            check_answered(with_keys, (len(more["now"]) + 1) * requests)
        for side, figures in more.items():
            loads[side] += figures
    return loads


def check_answered(server: Server, requests: int) -> None:
    """End the program unless a server has answered the requests, and has refused none.

    h2load does not tell, because the HTTP status of a refused gRPC call is 200 too.
    """
    url = f"http://127.0.0.1:{server.port}/monitoring/prometheus/metrics"
    with urllib.request.urlopen(url, timeout=30) as answer:
        page = answer.read().decode()
    refused = sum(map(float, re.findall(r"access_refusals_total{.*} ([\d.]+)", page)))
    answered = sum(map(float, re.findall(r'request_count{.*"OK"} ([\d.]+)', page)))
    if refused or answered < requests:
        sys.exit(f"{answered:g} of {requests} calls were answered and {refused:g} refused")


def main() -> None:
    """Measure, and print the ratio of the CPU times and of the rates."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pairs", type=int, default=40, help="pairs of runs (default: 40)")
    parser.add_argument(
        "--requests", type=int, default=20_000, help="null Predicts in a run (default: 20000)"
    )
    parser.add_argument("--limits", action="store_true", help="measure a key with limits")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        loads = measure(
            Path(folder), arguments.pairs, arguments.requests, with_limits=arguments.limits
        )
    failed = sum(load.failed for side in loads.values() for load in side)
    results = {"failed": failed}
    figures = {"cpu_us_per_request": "us of CPU a request", "requests_per_second": "requests/s"}
    for figure, unit in figures.items():
        result = compare(*([getattr(load, figure) for load in loads[side]] for side in loads))
        low, high = result["ratio_interval_95"]
        results[figure] = result
        print(
            f"null Predict: {result['base']:.4g} without keys -> {result['now']:.4g} with, {unit}, "
            f"ratio {result['ratio']:.3f} ({low:.3f} to {high:.3f})"
        )
    print(json.dumps(results))


if __name__ == "__main__":
    sys.exit(main())
