"""Trainings on pictures that are decoded into a file and read from it."""

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest
from picture_sets import write_pictures
from PIL import Image

# Puts all pictures into the file, however few they are, and trains.
STORED = (
    "import sys; from training.sources import decoding; decoding.MEMORY_BYTES = 0; "
    "from training.__main__ import main; sys.exit(main(sys.argv[1:]))"
)
# Trains after a first step of the same model, and prints the memory after that step and at most.
MEASURED = """
import json, resource, sys
from pathlib import Path
import keras, numpy as np, psutil
from training.__main__ import main
from training.model import architectures
model = architectures.build("simcnn", interface=architectures.Interface(classes=10))
model.compile("adam", keras.losses.CategoricalCrossentropy(from_logits=True))
model.train_on_batch(np.zeros((128, 32, 32, 3), np.uint8), np.zeros((128, 10), np.float32))
before = psutil.Process().memory_info().rss
code = main(sys.argv[1:])
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps({"before": before, "peak": peak}))
sys.exit(code)
"""


def environment(cache: Path) -> dict[str, str]:
    """Return variables for a training whose sums do not depend on the order of threads."""
    threads = dict.fromkeys(
        ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS"), "1"
    )
    return {
        **os.environ,
        **threads,
        "KERAS_BACKEND": "tensorflow",
        "PICTURES_CACHE_DIR": str(cache),
    }


def epochs_done(run_dir: Path) -> int:
    try:
        with (run_dir / "history.csv").open(newline="") as file:
            return len(list(csv.DictReader(file)))
    except FileNotFoundError:
        return 0


def weights(run_dir: Path) -> list[np.ndarray]:
    return keras.models.load_model(run_dir / "model.keras", compile=False).get_weights()


@pytest.mark.timeout(400)
def test_a_killed_training_from_the_file_ends_with_the_same_weights(tmp_path):
    """SIGKILL, and the same command again: the weights are those of pictures kept in memory."""
    write_pictures(tmp_path / "data", 60)
    arguments = ["simcnn", "--data-dir", tmp_path / "data", "--image-size", 32, "--epochs", 6]
    arguments = [*map(str, arguments), "--batch-size", "16", "--mixup", "0.2", "--cutout", "8"]
    variables = environment(tmp_path / "cache")
    stored = [sys.executable, "-c", STORED, *arguments, "--run-dir", str(tmp_path / "stored")]
    whole = [sys.executable, "-m", "training", *arguments, "--run-dir", str(tmp_path / "whole")]

    with subprocess.Popen(stored, env=variables, stderr=subprocess.DEVNULL) as process:
        until = time.monotonic() + 120
        while epochs_done(tmp_path / "stored") < 2 and time.monotonic() < until:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    assert 2 <= epochs_done(tmp_path / "stored") < 6
    assert process.returncode == -signal.SIGKILL
    for command in (stored, whole):
        subprocess.run(command, env=variables, check=True, capture_output=True, timeout=120)

    assert list((tmp_path / "cache").glob("*/pixels.bin"))
    for resumed, expected in zip(
        weights(tmp_path / "stored"), weights(tmp_path / "whole"), strict=True
    ):
        np.testing.assert_array_equal(resumed, expected)


def write_many(folder: Path, count: int) -> None:
    """Write so many small JPEG files of ten classes, each with noise of its own."""
    random = np.random.default_rng(0)
    for part, share in (("train", 0.9), ("test", 0.1)):
        for label in range(10):
            target = folder / part / f"class {label}"
            target.mkdir(parents=True)
            for number in range(int(count * share) // 10):
                noise = random.integers(0, 100, (40, 40, 3)).astype(np.uint8)
                noise[4 * label : 4 * label + 4] = 255
                file = io.BytesIO()
                Image.fromarray(noise).save(file, "JPEG", quality=75)
                (target / f"{number:05d}.jpg").write_bytes(file.getvalue())


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_memory_of_many_pictures_is_bounded(tmp_path):
    """An epoch of 100,000 JPEG files takes at most 1.5 GB more than the model's first step."""
    write_many(tmp_path / "data", 100_000)
    arguments = ["simcnn", "--data-dir", tmp_path / "data", "--image-size", 32, "--epochs", 1]
    command = [sys.executable, "-c", MEASURED, *map(str, arguments)]
    run_dir = tmp_path / "run"

    done = subprocess.run(
        [*command, "--run-dir", str(run_dir)],
        env={**os.environ, "PICTURES_CACHE_DIR": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        timeout=1100,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    memory = json.loads(done.stdout.splitlines()[-1])
    speed = json.loads((run_dir / "metrics.json").read_text())["train_images_per_second"]
    sys.stdout.write(f"{json.dumps(memory)}, {speed:,.0f} images/s\n")  # for pytest -s
    assert memory["peak"] - memory["before"] < 1.5e9
    assert (tmp_path / "cache").exists()
    assert speed > 0
