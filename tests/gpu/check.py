"""Checks the CUDA path on a machine with an NVIDIA GPU: `make gpu-check`.

It serves models/ with `--device cuda`, which never falls back to the CPU, and compares the answers
with ONNX Runtime on the CPU: 99.9 % of the images must get the same class, and the probabilities
must agree within the tolerance of TF32 arithmetic. If CIFAR10_DIR is set, all 10,000 test images
are used, otherwise the sample in the repository. The last line is a JSON document.
"""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import servers

from serving.client import PredictClient
from training.data.cifar10 import load_split

TOLERANCE = 1e-2
MIN_AGREEMENT = 0.999
BATCH = 500


def images_and_labels() -> tuple[np.ndarray, np.ndarray]:
    """Return all test images if CIFAR10_DIR is set, else the sample in the repository.

    Returns:
        Images, uint8 (n, 32, 32, 3), and their labels.
    """
    if os.environ.get("CIFAR10_DIR"):
        split = load_split(Path(os.environ["CIFAR10_DIR"]), "test")
        return split.images, split.labels
    with np.load(ROOT / "tests" / "data" / "cifar10_sample.npz") as sample:
        return sample["images"], sample["labels"]


def check(target: str, model: str, images: np.ndarray, labels: np.ndarray) -> dict[str, object]:
    """Compare one served model on the GPU with the same file in ONNX Runtime on the CPU."""
    onnx_file = ROOT / "models" / model / "1" / "model.onnx"
    session = onnxruntime.InferenceSession(str(onnx_file), providers=["CPUExecutionProvider"])
    on_cpu = np.concatenate(
        [
            session.run(["probabilities"], {"images": images[start : start + BATCH]})[0]
            for start in range(0, len(images), BATCH)
        ]
    )
    with PredictClient(target, timeout=120) as client:
        started = time.perf_counter()
        on_gpu = np.concatenate(
            [
                client.predict(model, {"images": images[start : start + BATCH]})["probabilities"]
                for start in range(0, len(images), BATCH)
            ]
        )
        seconds = time.perf_counter() - started
    agreement = float((on_gpu.argmax(axis=1) == on_cpu.argmax(axis=1)).mean())
    return {
        "model": model,
        "images": len(images),
        "agreement": agreement,
        "max_delta": float(np.abs(on_gpu - on_cpu).max()),
        "top1": float((on_gpu.argmax(axis=1) == labels).mean()),
        "images_per_second": len(images) / seconds,
    }


def main() -> None:
    """Serve on CUDA, compare every bundled model, and print JSON; exit with 1 if one differs."""
    offered = onnxruntime.get_available_providers()
    if "CUDAExecutionProvider" not in offered:
        sys.exit(f"ONNX Runtime offers {', '.join(offered)}, expected CUDA: use `make gpu-check`")
    images, labels = images_and_labels()
    with servers.as_process(
        "--models_dir", str(ROOT / "models"), "--port", "0", "--device", "cuda"
    ) as server:
        loaded = server.wait_for(r"loaded \S+ as \S+ on (\S+) in (\d+) ms", timeout=300)
        target = server.wait_for(r"listening on (\S+),", timeout=300).group(1)
        server.wait_for("ready: ")
        models = sorted(path.name for path in (ROOT / "models").iterdir() if path.is_dir())
        results = [check(target, model, images, labels) for model in models]
        code = server.terminate()
    gpu = subprocess.run(
        ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"],
        capture_output=True,
        text=True,
        check=False,
    ).stdout.strip()
    good = code == 0 and re.fullmatch("CUDAExecutionProvider", loaded[1]) is not None
    for result in results:
        good &= result["agreement"] >= MIN_AGREEMENT and result["max_delta"] <= TOLERANCE
    print(json.dumps({"ok": bool(good), "gpu": gpu, "provider": loaded[1], "models": results}))
    sys.exit(not good)


if __name__ == "__main__":
    main()
