"""Measures how long new connections wait after the SIGKILL of a worker: `make bench-killed-worker`.

A server of `--workers 2` is under load by h2load, on the same cores, while four callers send one
null Predict after another, each over a new connection. A worker is killed several times. The figure
is the longest wait of a call that began within the eight seconds after the kill, repetitions after
a lost connection included; beside it are the longest wait in the two seconds before the kill, and
the time until the killed worker is replaced. The last line of output is a JSON document.
"""

import argparse
import json
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
from calling.new_connections import Waits, calling
from harness import (
    CLIENT_CORE,
    PREDICT_PATH,
    ROOT,
    SERVER_CORE,
    Server,
    request_body,
    serve,
    write_null_model,
)

_QUIET_SECONDS = 2.0
_WATCH_SECONDS = 8.0


def kill_one(server: Server, waits: Waits) -> dict[str, float]:
    """Kill the oldest worker; return the longest waits before and after, in seconds."""
    before = time.monotonic()
    time.sleep(_QUIET_SECONDS)
    killed_at = time.monotonic()
    min(server.process.children(), key=psutil.Process.create_time).send_signal(signal.SIGKILL)
    time.sleep(_WATCH_SECONDS)
    return {
        "before": waits.longest(before, killed_at - 1.0),
        "after": waits.longest(killed_at - 1.0, killed_at + _WATCH_SECONDS - 1.0),
    }


def main() -> None:
    """Measure, and print the waits."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=10, help="workers to kill (default: 10)")
    parser.add_argument("--checkout", type=Path, default=ROOT, help="the server's source tree")
    parser.add_argument("--model", default="simcnn", help="model of the load (default: simcnn)")
    arguments = parser.parse_args()
    cores = (SERVER_CORE, CLIENT_CORE)
    with tempfile.TemporaryDirectory() as folder:
        models = Path(folder) / "models"
        write_null_model(models)
        shutil.copytree(ROOT / "models" / arguments.model, models / arguments.model)
        load_body = request_body(Path(folder), arguments.model, 1)
        fresh_body = request_body(Path(folder), "identity", 1).read_bytes()[5:]  # without its frame
        with serve(models, cores, "--workers", "2", checkout=arguments.checkout) as (server, _):
            url = f"http://127.0.0.1:{server.port}{PREDICT_PATH}"
            # A connection that a kill has closed stays closed, so h2load starts again and again.
            h2load = ["h2load", "-d", str(load_body), "-c", "16", "-m", "4", "-n", "2000", url]
            h2load += ["-H", "content-type: application/grpc", "-H", "te: trailers"]
            script = 'while true; do timeout 20 "$@" >/dev/null 2>&1; done'
            load = subprocess.Popen(["bash", "-c", script, "load", *h2load], start_new_session=True)
            try:
                with calling(f"127.0.0.1:{server.port}", PREDICT_PATH, fresh_body) as waits:
                    kills = [kill_one(server, waits) for _ in range(arguments.kills)]
            finally:
                for process in (*psutil.Process(load.pid).children(), load):
                    process.kill()
                load.wait()
    after = [kill["after"] for kill in kills]
    result = {
        "kills": len(kills),
        "fresh_calls": len(waits.seconds),
        "repeated": waits.repeated,
        "errors": waits.errors,
        "longest_wait_before_median": statistics.median(kill["before"] for kill in kills),
        "longest_wait_after_median": statistics.median(after),
        "longest_wait_after_max": max(after),
    }
    for kill in kills:
        print(f"longest wait before {kill['before']:.3f} s, after the kill {kill['after']:.3f} s")
    print(json.dumps(result))


if __name__ == "__main__":
    sys.exit(main())
