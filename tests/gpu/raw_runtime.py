"""Raw ONNX Runtime by batch size: the settings of its CUDA provider, and the ways to call it.

| mode | a call |
|---|---|
| eager | `session.run` with NumPy arrays, as the server calls it |
| host buffers | IOBinding of arrays in the host's memory |
| device buffers | IOBinding of buffers on the device: copy in, run, copy out |
| CUDA graph | the same, as one launch of a graph that was captured for this batch size |

Every call of every mode copies its images to the device and its answers back. `alternating` is the
cost of a change of the batch size: the provider keeps the plan of a convolution for one shape only.
"""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import onnxruntime
from gpu import graphs
from gpu.graphs import Graph
from gpu.results import Results, reason

from serving.engine.devices import cuda_options

BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
ALTERNATING = (32, 64)
SECONDS = 0.1  # of calls that are timed, for each row
_WARM_UP_CALLS = 4
_WRONG_DELTA = 0.2  # beyond any rounding: the answers are those to other images, or broken
_OTHERS = 1  # seed of the images that are not those of the timed calls
Call = Callable[[np.ndarray], np.ndarray]
_SERVED = cuda_options.provider_options(
    cuda_options.CudaChoices(), captures=False, mem_limit_bytes=0
)


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Options of an execution provider.

    Attributes:
        name: Name in the results.
        options: Options that differ from the server's.
        graph: Whether calls replay a captured CUDA graph.
    """

    name: str
    options: Mapping[str, str] = field(default_factory=dict)
    graph: bool = False


# In the order in which they are measured: a time limit cuts the last ones off.
SETTINGS: dict[str, tuple[Setting, ...]] = {
    "cuda": (
        Setting(name="as served"),
        Setting(name="CUDA graphs", options={"enable_cuda_graph": "1"}, graph=True),
        Setting(name="NHWC", options={"prefer_nhwc": "1"}),
        Setting(name="no TF32", options={"use_tf32": "0"}),
        Setting(
            name="CUDA graphs, NHWC",
            options={"enable_cuda_graph": "1", "prefer_nhwc": "1"},
            graph=True,
        ),
        Setting(name="exhaustive search", options={"cudnn_conv_algo_search": "EXHAUSTIVE"}),
    ),
    "cpu": (Setting(name="as served"),),
}


def run(
    found: Sequence[Graph],
    results: Results,
    *,
    device: str,
    batches: Sequence[int] = BATCHES,
    seconds: float = SECONDS,
) -> None:
    """Measure all graphs in all settings; one row for each mode and batch size.

    Args:
        found: The graphs.
        results: Receives the rows.
        device: cuda or cpu.
        batches: Batch sizes.
        seconds: Time of the timed calls of a row, in seconds.
    """
    if device == "cuda":
        onnxruntime.preload_dlls()
    expected = {graph.file: _expected(graph, batches) for graph in found}
    for setting in SETTINGS[device]:
        for graph in found:
            about = {"model": graph.model, "precision": graph.precision, "setting": setting.name}
            try:
                for row in _rows(graph, setting, device, expected[graph.file], seconds):
                    results.add(about | row)
            except Exception as error:  # noqa: BLE001 - ONNX Runtime's errors share no base class
                results.add(about | {"error": reason(error)})


def rates(
    graph: Graph, device: str, batches: Sequence[int], seconds: float = SECONDS
) -> Iterator[tuple[int, float]]:
    """Yield batch sizes with the rate of `session.run` as the server calls it, in images/s."""
    session = open_session(graph, SETTINGS[device][0], device)
    for batch in batches:
        median, _ = _median_seconds(partial(_eager, session, graphs.images(batch)), seconds)
        yield batch, batch / median


def open_session(graph: Graph, setting: Setting, device: str) -> onnxruntime.InferenceSession:
    """Open a session on a device.

    Raises:
        RuntimeError: the session runs on another provider.
    """
    wanted = graphs.provider(device)
    options = {**_SERVED, **setting.options} if device == "cuda" else {}
    session = graph.session([(wanted, options)])
    used = session.get_providers()[0]
    if used != wanted:
        msg = f"{graph.file.name} runs on {used}, expected {wanted}: check driver and libraries"
        raise RuntimeError(msg)
    return session


def _rows(
    graph: Graph,
    setting: Setting,
    device: str,
    right: Mapping[int, np.ndarray],
    seconds: float,
) -> Iterator[dict[str, object]]:
    session = open_session(graph, setting, device)
    for batch, expected in right.items():
        images, others = graphs.images(batch), graphs.images(batch, _OTHERS)
        for mode, call in _calls(session, setting, device, images).items():
            median, count = _median_seconds(partial(call, images), seconds)
            answers = call(others)  # buffers that are not read again would give the old answers
            row = {
                "mode": mode,
                "batch": batch,
                "call_us": round(1e6 * median, 1),
                "calls": count,
                "images_per_second": round(batch / median),
                "max_delta": float(np.abs(answers - expected).max()),
                "agreement": float((answers.argmax(axis=1) == expected.argmax(axis=1)).mean()),
            }
            if not row["max_delta"] <= _WRONG_DELTA:  # also if it is NaN
                row["error"] = f"wrong answers: a probability differs by {row['max_delta']:.2g}"
            yield row
    if not setting.graph and set(ALTERNATING) <= right.keys():
        yield _alternating(session, seconds)


def _expected(graph: Graph, batches: Sequence[int]) -> dict[int, np.ndarray]:
    """Return the CPU's answers to the other images, by batch size."""
    session = graph.on_cpu()
    return {batch: _eager(session, graphs.images(batch, _OTHERS)) for batch in batches}


def _alternating(session: onnxruntime.InferenceSession, seconds: float) -> dict[str, object]:
    """Compare calls of two batch sizes in turns with calls of each size by itself."""
    calls = [partial(_eager, session, graphs.images(batch)) for batch in ALTERNATING]
    grouped = sum(_median_seconds(call, seconds)[0] for call in calls)
    in_turns, _ = _median_seconds(lambda: [call() for call in calls], seconds)
    return {
        "mode": "alternating",
        "batches": list(ALTERNATING),
        "grouped_us": round(1e6 * grouped, 1),
        "alternating_us": round(1e6 * in_turns, 1),
    }


def _calls(
    session: onnxruntime.InferenceSession, setting: Setting, device: str, images: np.ndarray
) -> dict[str, Call]:
    """Return a function for each mode: it copies the images in and the answers out."""
    if setting.graph:
        return {"CUDA graph": _device_buffers(session, device, images, graph=True)}
    return {
        "eager": lambda images: _eager(session, images),
        "host buffers": _host_buffers(session),
        "device buffers": _device_buffers(session, device, images, graph=False),
    }


def _eager(session: onnxruntime.InferenceSession, images: np.ndarray) -> np.ndarray:
    answers: np.ndarray = session.run(["probabilities"], {"images": images})[0]
    return answers


def _host_buffers(session: onnxruntime.InferenceSession) -> Call:
    binding = session.io_binding()
    binding.bind_output("probabilities", "cpu")

    def call(images: np.ndarray) -> np.ndarray:
        binding.bind_cpu_input("images", images)
        session.run_with_iobinding(binding)
        answers: np.ndarray = binding.copy_outputs_to_cpu()[0]
        return answers

    return call


def _device_buffers(
    session: onnxruntime.InferenceSession, device: str, images: np.ndarray, *, graph: bool
) -> Call:
    # A captured graph reads and writes the addresses of its capture, so the buffers stay.
    inputs = onnxruntime.OrtValue.ortvalue_from_numpy(images.copy(), device, 0)
    shape = [len(images), 10]
    outputs = onnxruntime.OrtValue.ortvalue_from_shape_and_type(shape, np.float32, device, 0)
    binding = session.io_binding()
    binding.bind_ortvalue_input("images", inputs)
    binding.bind_ortvalue_output("probabilities", outputs)
    options = onnxruntime.RunOptions()
    if graph:
        options.add_run_config_entry("gpu_graph_id", str(len(images)))

    def call(images: np.ndarray) -> np.ndarray:
        inputs.update_inplace(images)
        session.run_with_iobinding(binding, options)
        answers: np.ndarray = outputs.numpy()
        return answers

    return call


def _median_seconds(call: Callable[[], object], seconds: float) -> tuple[float, int]:
    """Return the median time of a call in seconds, and the number of timed calls."""
    for _ in range(_WARM_UP_CALLS):
        call()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while not times or time.perf_counter() < end:
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return statistics.median(times), len(times)
