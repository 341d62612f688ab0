"""Measures this server, Triton and MLServer with the load test, in one report: `make bench-lab`.

All three serve the same SimCNN file in float32 with ONNX Runtime on one thread, pinned to one core.
The load test sends CIFAR-10's test images from the other core over KServe v2's gRPC API, to one
server after the other in turns, and scores every answer: its report has latency, throughput and
accuracy of all three. The images come from CIFAR10_DIR. The report is written to --output-dir.
"""

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import onnxruntime

sys.path[:0] = [str(Path(__file__).parents[1])]

import starting
from harness import CLIENT_CORE, ROOT, SERVER_CORE, serve
from starting import LeftOutError, ask_kserve, image, wait_until_right

MATRIX = """\
schema_version = 1
name = "this server, Triton and MLServer"
repeats = {repeats}
models = ["simcnn"]

[defaults]
transport = "kserve-grpc"
warmup-requests = 200

[[scenarios]]
scenario = "single-stream"
requests = 1000

[[scenarios]]
scenario = "users"
users = 32
requests = 4000

[[scenarios]]
scenario = "offline"
batch = 32
"""
_TARGET = """
[[targets]]
name = {name}
address = {address}
"""


def main() -> int:
    """Start the servers, and run the load test; return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3, help="rounds (default: 3)")
    parser.add_argument("--output-dir", type=Path, default=ROOT / "build" / "bench" / "lab")
    parser.add_argument("--cache-dir", type=Path, default=ROOT / "build" / "bench" / "peers")
    arguments = parser.parse_args()
    folder = arguments.cache_dir.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    model = ROOT / "models" / "simcnn" / "1" / "model.onnx"
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    expected = session.run(["probabilities"], {"images": image()})[0][0]
    shutil.copytree(model.parents[1], folder / "models" / "simcnn", dirs_exist_ok=True)
    with contextlib.ExitStack() as stack:
        flags = ("--precision", "fp32")
        server, _ = stack.enter_context(serve(folder / "models", [SERVER_CORE], *flags))
        ports = {"this server": server.port}
        for name, start in (("Triton", starting.triton), ("MLServer", starting.mlserver)):
            try:
                process, port = stack.enter_context(start(model, folder))
                log = folder / f"{name.lower()}-run" / "log"
                wait_until_right(ask_kserve, process, port, expected, log)
            except LeftOutError as error:
                print(f"{name} is left out: {error}")
                continue
            ports[name] = port
        text = MATRIX.format(repeats=arguments.repeats) + "".join(
            _TARGET.format(name=json.dumps(name), address=json.dumps(f"127.0.0.1:{port}"))
            for name, port in ports.items()
        )
        matrix = folder / "lab.toml"
        matrix.write_text(text)
        command = [sys.executable, "-m", "loadtest", "matrix", str(matrix), "--no-record"]
        command += ["--output-dir", str(arguments.output_dir)]
        return subprocess.run(
            ["taskset", "-c", str(CLIENT_CORE), *command], cwd=ROOT, env=os.environ, check=False
        ).returncode


if __name__ == "__main__":
    sys.exit(main())
