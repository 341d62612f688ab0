"""Benchmarks of the server against raw ONNX Runtime: `make bench`, or `python tests/bench`.

The server is pinned to one core and h2load to another, so that the client does not slow the server
down. Raw `session.run` is measured on the server's core in the same run, alternating with the
server, because the speed of a shared machine drifts: compare the ratios, not the absolute figures.
Each figure is the median of the rounds. The last line of output is a JSON document, which
`--output` also writes to a file.
"""

import argparse
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import onnxruntime
from harness import (
    CLIENT_CORE,
    INFER_PATH,
    PREDICT_PATH,
    RAW_BATCH_SIZES,
    ROOT,
    SERVER_CORE,
    Call,
    Server,
    binary_call,
    classify_call,
    infer_body,
    raw_images_per_second,
    request_body,
    rest_body,
    rest_path,
    serve,
    write_null_model,
)


def against_raw(
    server: Server,
    onnx_file: Path,
    call: Call,
    *,
    in_flight: int,
    requests: int,
    rounds: int,
) -> dict[str, Any]:
    """Measure the server and raw ONNX Runtime alternately; return the medians and their ratio.

    Args:
        server: Serves the model.
        onnx_file: The same model, for raw ONNX Runtime at its best batch size.
        call: The request.
        in_flight: Requests at a time.
        requests: Requests in each round.
        rounds: Number of rounds.
    """
    rows = call.rows
    best_raw, loads, ratios = [], [], []
    for _ in range(rounds):
        raw = max(raw_images_per_second(onnx_file, RAW_BATCH_SIZES).values())
        load = server.load(
            call.body,
            in_flight=in_flight,
            requests=requests,
            path=call.path,
            headers=call.headers,
        )
        best_raw.append(raw)
        loads.append(load)
        ratios.append(load.requests_per_second * rows / raw)
    return {
        "path": call.path,
        "in_flight": in_flight,
        "images_per_request": rows,
        "requests": requests * rounds,
        "failed": sum(load.failed for load in loads),
        "images_per_second": _median(load.requests_per_second * rows for load in loads),
        "raw_images_per_second": _median(best_raw),
        "ratio_to_raw": _median(ratios),
        "ratio_to_raw_min_max": [round(min(ratios), 3), round(max(ratios), 3)],
        "server_cpu_us_per_request": _median(load.cpu_us_per_request for load in loads),
        "server_cpu_us_per_image": _median(load.cpu_us_per_request / rows for load in loads),
    }


def null_model(server: Server, body: Path, rounds: int) -> list[dict[str, Any]]:
    """Measure the cost of a Predict with a model that does next to nothing."""
    rows = []
    for in_flight in (1, 32, 128):
        loads = [server.load(body, in_flight=in_flight, requests=20_000) for _ in range(rounds)]
        rows.append(
            {
                "in_flight": in_flight,
                "requests": 20_000 * rounds,
                "failed": sum(load.failed for load in loads),
                "requests_per_second": _median(load.requests_per_second for load in loads),
                "server_cpu_us_per_request": _median(load.cpu_us_per_request for load in loads),
            }
        )
    return rows


def bundled_resnet50(bodies: Path, rounds: int) -> list[dict[str, Any]]:
    """Measure single images for the bundled ResNet50 in int8 against raw ONNX Runtime."""
    call = Call(request_body(bodies, "resnet50", 1), 1, PREDICT_PATH)
    bundled = ROOT / "models"
    onnx_file = bundled / "resnet50" / "1" / "model.int8.onnx"
    with serve(bundled, [SERVER_CORE], "--precision", "int8", models=("resnet50",)) as (server, _):
        return [
            against_raw(server, onnx_file, call, in_flight=in_flight, requests=3000, rounds=rounds)
            for in_flight in (1, 32, 128)
        ]


def workers(models_dir: Path, body: Path, rounds: int) -> dict[str, Any]:
    """Compare two worker processes on two cores with one worker on one core.

    The load generator shares the server's cores in both cases, so twice the machine is compared.
    """
    cores = (SERVER_CORE, CLIENT_CORE)
    rates: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(rounds):
        for count, measured in rates.items():
            flags = ("--workers", str(count), "--precision", "fp32")
            with serve(models_dir, cores[:count], *flags) as (server, _):
                # The first load warms up: most workers have not answered before.
                for requests in (6000, 60_000):
                    load = server.load(
                        body, in_flight=128, requests=requests, connections=32, cores=cores[:count]
                    )
                measured.append(load.requests_per_second)
    return {
        "one_worker_requests_per_second": _median(rates[1]),
        "two_workers_requests_per_second": _median(rates[2]),
        "ratio": _median(two / one for one, two in zip(rates[1], rates[2], strict=True)),
    }


def resnet50(cache_dir: Path) -> Path:
    """Return the model folder of a ResNet50 with random weights; create it if it is missing."""
    made = cache_dir / "made"
    if not (made / "resnet50").exists():
        program = ROOT / "tests" / "bench" / "make_resnet50.py"
        subprocess.run([sys.executable, str(program), str(made)], check=True)
    return made / "resnet50"


def _median(values: Iterable[float]) -> float:
    return round(statistics.median(values), 3)


def main() -> None:
    """Run all benchmarks; print a table and a JSON document."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="repetitions (default: 3)")
    parser.add_argument("--output", type=Path, help="file to write the JSON document to")
    parser.add_argument("--cache-dir", type=Path, default=ROOT / "build" / "bench")
    parser.add_argument(
        "--skip-resnet50",
        action="store_true",
        help="leave out ResNet50 in float32, whose model takes minutes to create",
    )
    arguments = parser.parse_args()
    for tool in ("h2load", "taskset"):
        if not shutil.which(tool):
            sys.exit(f"{tool} not found; on Debian: apt-get install nghttp2-client util-linux")
    if len(os.sched_getaffinity(0)) < 2:
        sys.exit("found one core, expected two: one for the server, one for the load generator")

    models = arguments.cache_dir / "models"
    shutil.rmtree(models, ignore_errors=True)
    write_null_model(models)
    shutil.copytree(ROOT / "models" / "simcnn", models / "simcnn")
    simcnn = ROOT / "models" / "simcnn" / "1" / "model.onnx"
    bodies = arguments.cache_dir
    result: dict[str, Any] = {"conditions": conditions(arguments.rounds)}
    rounds = arguments.rounds

    single, batch = (
        Call(request_body(bodies, "simcnn", rows), rows, PREDICT_PATH) for rows in (1, 32)
    )
    with serve(models, [SERVER_CORE], "--precision", "fp32") as (server, _):
        result["null_model"] = null_model(server, request_body(bodies, "identity", 1), rounds)
        result["simcnn"] = [
            against_raw(
                server,
                simcnn,
                single,
                in_flight=in_flight,
                requests=10_000,
                rounds=rounds,
            )
            for in_flight in (1, 32, 128)
        ]
        result["simcnn"].append(
            against_raw(server, simcnn, batch, in_flight=8, requests=1000, rounds=rounds)
        )
    shutil.rmtree(models / "identity")
    int8 = simcnn.with_name("model.int8.onnx")
    with serve(models, [SERVER_CORE], "--precision", "int8") as (server, _):
        result["simcnn_int8"] = [
            against_raw(
                server,
                int8,
                call,
                in_flight=in_flight,
                requests=requests,
                rounds=rounds,
            )
            for call, in_flight, requests in (
                (single, 1, 10_000),
                (single, 32, 10_000),
                (single, 128, 10_000),
                (batch, 8, 1000),
                *other_apis(bodies, "simcnn"),
            )
        ]
    result["resnet50_int8"] = bundled_resnet50(bodies, rounds)
    result["workers"] = workers(models, single.body, rounds)
    if not arguments.skip_resnet50:
        shutil.copytree(resnet50(arguments.cache_dir), models / "resnet50")
        onnx_file = models / "resnet50" / "1" / "model.onnx"
        with serve(models, [SERVER_CORE]) as (server, _):
            call = Call(request_body(bodies, "resnet50", 1), 1, PREDICT_PATH)
            result["resnet50"] = [
                against_raw(
                    server,
                    onnx_file,
                    call,
                    in_flight=in_flight,
                    requests=1000,
                    rounds=rounds,
                )
                for in_flight in (1, 32, 128)
            ]
    result["start"] = start_up(models, rounds)
    report(result)
    if arguments.output:
        arguments.output.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result))


def other_apis(bodies: Path, model: str) -> list[tuple[Call, int, int]]:
    """Return calls of the other APIs with 1 and 32 images, their requests in flight and in all.

    Over gRPC: KServe's ModelInfer. Over REST: predict with rows of JSON, KServe's infer with binary
    tensor data, and classify with PNG files in base64.
    """
    return [
        (call, 32 if call.rows == 1 else 8, requests if call.rows == 1 else requests // 10)
        for rows in (1, 32)
        for call, requests in (
            (Call(infer_body(bodies, model, rows), rows, INFER_PATH), 10_000),
            (Call(rest_body(bodies, model, rows), rows, rest_path(model)), 2000),
            (binary_call(bodies, model, rows), 10_000),
            (classify_call(bodies, model, rows), 4000),
        )
    ]


def start_up(models: Path, rounds: int) -> dict[str, Any]:
    """Measure the seconds from the command to the first answer, and the memory afterwards."""
    seconds, memory = [], []
    for _ in range(rounds):
        with serve(models, [SERVER_CORE, CLIENT_CORE]) as (server, elapsed):
            seconds.append(elapsed)
            memory.append(server.memory_mib())
    names = sorted(path.name for path in models.iterdir())
    return {"models": names, "seconds": _median(seconds), "memory_mib": _median(memory)}


def conditions(rounds: int) -> dict[str, Any]:
    """Return the conditions of the measurement: commit, CPU, load and versions."""
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    ).stdout.strip()
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return {
        "commit": commit,
        "cpu": cpu[1] if cpu else platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "load_average": os.getloadavg()[0],
        "python": platform.python_version(),
        "onnxruntime": onnxruntime.__version__,
        "rounds": rounds,
    }


def report(result: dict[str, Any]) -> None:
    """Print the figures as a table."""
    print(f"conditions: {result['conditions']}")
    for row in result["null_model"]:
        print(
            f"null model   {row['in_flight']:4} in flight {row['requests_per_second']:9,.0f} req/s"
            f"  {row['server_cpu_us_per_request']:6.1f} us server CPU"
        )
    for model in ("simcnn", "simcnn_int8", "resnet50_int8", "resnet50"):
        for row in result.get(model, ()):
            print(
                f"{model:13} x{row['images_per_request']:<3}{row['in_flight']:4} in flight "
                f"{row['images_per_second']:9,.0f} images/s, {100 * row['ratio_to_raw']:5.1f} % of "
                f"raw {row['raw_images_per_second']:,.0f} "
                f"  {row['server_cpu_us_per_request']:6.0f} us server CPU a request, "
                f"{row['server_cpu_us_per_image']:4.0f} an image  "
                f"{row['path'].rpartition('/')[2]}"
            )
    print(f"workers      {result['workers']}")
    print(f"start        {result['start']}")


if __name__ == "__main__":
    main()
