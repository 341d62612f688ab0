"""Tests of the image `serving-gpu` on a machine without a GPU, from outside."""

import secrets
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from running import containers
from running.containers import ROOT, free_port, inspect, published, run, started, wait_until_healthy

from serving.client import PredictClient

pytestmark = pytest.mark.gpu_images

IMAGE = "onnx-serving:gpu-test"
RESTRICTIONS = ("--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges")
# NVIDIA's driver, as far as the libraries of the image call it. It says that there is no device.
DRIVER = """
int cuInit(unsigned flags) { return 100; }
int cuDriverGetVersion(int *version) { *version = 13000; return 0; }
int cuGetErrorString(int error, const char **text) { *text = "no device"; return 0; }
int cuModuleGetFunction() { return 100; }
int cuModuleLoadData() { return 100; }
int cuModuleUnload() { return 100; }
int cuTensorMapEncodeIm2col() { return 100; }
int cuTensorMapEncodeTiled() { return 100; }
"""


@pytest.fixture(scope="module")
def image(base_image) -> Iterator[str]:
    """The image under test; it is removed afterwards, because it takes 2.6 GB."""
    yield containers.build("serving-gpu", IMAGE, base_image)
    run("docker", "rmi", "--force", IMAGE, timeout_seconds=120)


@pytest.fixture(scope="module")
def container(image) -> Iterator[str]:
    """A healthy container of the bundled models with `--device auto`, as an arbitrary user."""
    with started(
        *(*RESTRICTIONS, "--user=12345", "--publish=127.0.0.1::8500"),
        *(f"--volume={ROOT / 'models'}:/models:ro", image, "--device=auto"),
    ) as running:
        wait_until_healthy(running, timeout_seconds=180)
        yield running


@pytest.fixture
def python_in(image):
    """A function that runs Python code in the image without starting the server."""

    def run_python(code: str, *options: str) -> str:
        docker_run = ("docker", "run", "--rm", "--network=none", "--entrypoint=python", *options)
        done = run(*docker_run, image, "-c", code)
        return (done.stdout + done.stderr).strip()

    return run_python


@pytest.mark.parametrize("model", ["simcnn", "resnet50"])
def test_without_a_gpu_it_serves_both_models_on_the_cpu(container, model):
    """With `--device auto` real images come back classified far above chance."""
    sample = np.load(ROOT / "tests/data/cifar10_sample.npz")

    with PredictClient(published(container, 8500), timeout=60) as client:
        outputs = client.predict(model, {"images": sample["images"]})

    np.testing.assert_allclose(outputs["probabilities"].sum(axis=1), 1, rtol=1e-5)
    assert (outputs["classes"] == sample["labels"]).mean() > 0.5


def test_it_is_unprivileged_and_writes_nowhere(container):
    """The server runs as any user without a capability, on a read-only file system."""
    status = run("docker", "exec", container, "cat", "/proc/1/status").stdout
    written = run("docker", "exec", "--user=0", container, "touch", "/app/written", check=False)
    config = inspect("image", IMAGE)["Config"]

    assert "Uid:\t12345\t12345\t12345\t12345" in status
    assert "CapEff:\t0000000000000000" in status
    assert "Read-only file system" in written.stderr
    assert config["User"] == "10001:10001"


def test_it_asks_nvidias_runtime_for_cuda(image):
    """NVIDIA's container runtime is asked for all GPUs and for the libraries of CUDA."""
    environment = inspect("image", image)["Config"]["Env"]

    assert "NVIDIA_VISIBLE_DEVICES=all" in environment
    assert "NVIDIA_DRIVER_CAPABILITIES=compute,utility" in environment


def test_device_cuda_is_refused_without_a_gpu(image):
    """With `--device cuda` and no GPU the container ends with a failure that names CUDA."""
    done = run(
        *("docker", "run", "--rm", *RESTRICTIONS, f"--volume={ROOT / 'models'}:/models:ro"),
        *(image, "--device=cuda"),
        check=False,
    )

    assert done.returncode not in {0, 125, 126, 127}
    assert 'device "cuda" requested but CUDA does not work: libcuda.so.1 is missing' in done.stderr
    assert "--gpus all" in done.stderr


def test_the_image_holds_no_build_tools_and_no_unused_libraries(image, base_image, python_in):
    """The image has the GPU package of ONNX Runtime alone, and less than 2.7 GB above its base.

    The files that the Dockerfile removes are absent.
    """
    names = python_in(
        "import importlib.metadata as m; print(*{d.name.lower() for d in m.distributions()})"
    ).split()
    files = python_in(
        "import onnxruntime, pathlib\n"
        "folders = [pathlib.Path('/opt/nvidia'), pathlib.Path(onnxruntime.__file__).parent]\n"
        "print(*(path.name for folder in folders for path in folder.rglob('*')))"
    ).split()
    added_bytes = inspect("image", image)["Size"] - inspect("image", base_image)["Size"]

    assert {"onnxruntime-gpu", "onnx-serving"} <= {*names}
    assert {"onnxruntime", "tensorflow", "jax", "keras", "pip"} & {*names} == set()
    removed = ("include", "libnvblas", "libcufftw", "libcudnn_ext", "libnvinfer")
    removed += ("libonnxruntime_providers_tensorrt", "libonnxruntime.so")
    assert "libonnxruntime_providers_cuda.so" in files
    assert [name for name in files if name.startswith(removed) or name.endswith(".a")] == []
    assert 1e9 < added_bytes < 2.7e9


def test_preloading_finds_every_library(python_in):
    """`preload_dlls` loads CUDA and cuDNN from the image, and prints no failure."""
    said = python_in(
        "import onnxruntime, os, pathlib\n"
        "onnxruntime.preload_dlls()\n"
        "maps = pathlib.Path('/proc/self/maps').read_text()\n"
        "print(*sorted({line.split('/')[-1].split('.so')[0] for line in maps.splitlines()"
        " if '/opt/nvidia/' in line}))"
    )

    loaded = {"libcublas", "libcublasLt", "libcudart", "libcufft", "libcurand", "libnvrtc"}
    assert {*said.split()} == {*loaded, "libcudnn"}


@pytest.mark.skipif(shutil.which("nvidia-smi") is not None, reason="this machine has a GPU")
def test_composes_service_is_not_started_without_a_gpu(image):
    """`up serving-gpu` asks the engine for a GPU and fails, and does not serve on the CPU."""
    project = f"onnx-serving-test-{secrets.token_hex(4)}"
    compose = (*containers.compose_command(), "--project-name", project, "--profile", "gpu")
    env = {
        "SERVING_GPU_IMAGE": image,
        "GRPC_PORT": f"127.0.0.1:{free_port()}",
        "REST_PORT": f"127.0.0.1:{free_port()}",
    }
    try:
        done = run(
            *(*compose, "up", "--detach", "--no-build", "serving-gpu"),
            env=env,
            timeout_seconds=120,
            check=False,
        )
        created = run("docker", "ps", "--all", "--format={{.Names}}", f"--filter=name={project}")
    finally:
        run(*compose, "down", "--volumes", env=env, timeout_seconds=120)

    assert done.returncode != 0
    assert "gpu" in done.stderr.partition("could not select device driver")[2]
    # The server on the CPU is not started beside it.
    assert ["serving-gpu" in name for name in created.stdout.split()] == [True]


@pytest.fixture
def driver(tmp_path) -> Path:
    """A folder with a library in the place of NVIDIA's driver; skip without a C compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler `cc` to build a driver without a device")
    (tmp_path / "driver.c").write_text(DRIVER)
    library = tmp_path / "libcuda.so.1"
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-Wl,-soname,libcuda.so.1", "-o", library, "driver.c"],
        cwd=tmp_path,
        check=True,
    )
    tmp_path.chmod(0o755)
    return tmp_path


def test_no_library_is_missing_up_to_the_driver(python_in, driver):
    """All CUDA libraries load, and ONNX Runtime's provider fails at nothing but the device."""
    said = python_in(
        "import ctypes, onnxruntime, pathlib\n"
        "onnxruntime.preload_dlls()\n"
        "libraries = sorted(pathlib.Path('/opt/nvidia').rglob('*.so*'))\n"
        "print(len([ctypes.CDLL(str(library)) for library in libraries]), 'libraries')\n"
        "options = onnxruntime.SessionOptions()\n"
        "model = '/models/simcnn/1/model.onnx'\n"
        "onnxruntime.InferenceSession(model, options, providers=['CUDAExecutionProvider'])",
        f"--volume={driver}:/driver:ro",
        f"--volume={ROOT / 'models'}:/models:ro",
        "--env=LD_LIBRARY_PATH=/driver",
    )

    assert "17 libraries" in said
    assert "no CUDA-capable device is detected" in said
    assert "cannot open shared object file" not in said
