"""The graphs that the steps compare: those of the bundled models that CUDA can run, and fp16."""

import os
import shutil
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime
from gpu.machine import ROOT

from serving.engine import runtime
from serving.engine.runtime import CPU, CUDA, RuntimeConfig
from serving.repository import model_folder, publishing
from serving.repository.model_folder import Precision

# CUDA has no kernels for int8 graphs.
PRECISIONS: tuple[Precision, ...] = ("fp32", "w8", "fp16")
_VERSION = 1
# The first test images of CIFAR-10, in the repository.
SAMPLE = ROOT / "tests" / "data" / "cifar10_sample.npz"


@dataclass(frozen=True, kw_only=True)
class Graph:
    """A graph of a model.

    Attributes:
        model: Name of the model.
        precision: Precision of the graph.
        file: The ONNX file.
    """

    model: str
    precision: Precision
    file: Path

    def on_cpu(self) -> onnxruntime.InferenceSession:
        """Return a session on the CPU with the settings of the server."""
        return self.session([(CPU, {})])

    def session(
        self, providers: Sequence[tuple[str, dict[str, str]]]
    ) -> onnxruntime.InferenceSession:
        """Return a session with the settings of the server.

        Args:
            providers: Execution providers and their options, the preferred one first.
        """
        options = runtime.session_options(
            RuntimeConfig(intra_op_threads=len(os.sched_getaffinity(0))), self.precision
        )
        return onnxruntime.InferenceSession(
            str(self.file),
            options,
            providers=[name for name, _ in providers],
            provider_options=[given for _, given in providers],
        )


def provider(device: str) -> str:
    """Return the execution provider of a device, cuda or cpu."""
    return CUDA if device == "cuda" else CPU


def find(models: Path, names: Sequence[str] = ()) -> list[Graph]:
    """Return the graphs of the first version of every model, sorted by model.

    Args:
        models: Folder of models.
        names: Names of the models; empty for all.
    """
    return [
        Graph(model=folder.name, precision=precision, file=file)
        for folder in sorted(models.iterdir())
        if not names or folder.name in names
        for precision in PRECISIONS
        if (file := _file(folder, precision)).is_file()
    ]


def distinct(graphs: Sequence[Graph]) -> list[Graph]:
    """Return the graphs without those with weights in 8 bits beside a float32 graph.

    The server computes weights in 8 bits as float32, at the speed of the float32 graph.
    """
    float32 = {graph.model for graph in graphs if graph.precision == "fp32"}
    return [graph for graph in graphs if graph.precision != "w8" or graph.model not in float32]


def served(graphs: Sequence[Graph], device: str) -> list[Graph]:
    """Return one graph for each model: the one that the server loads on a device."""
    order = RuntimeConfig().precisions(provider(device))
    best: dict[str, Graph] = {}
    for graph in sorted(graphs, key=lambda graph: order.index(graph.precision)):
        best.setdefault(graph.model, graph)
    return [best[name] for name in sorted(best)]


def prepare(models: Path, bundles: Sequence[Path], names: Sequence[str] = ()) -> None:
    """Copy the graphs that CUDA runs to a folder of models, and make fp16 where it is missing.

    Args:
        models: Folder to write; models that it has already are kept.
        bundles: Folders of models; a file is taken from the first one that has it.
        names: Names of the models; empty for all.
    """
    found = {path.parent.name for bundle in bundles for path in bundle.glob("*/[0-9]*")}
    for name in sorted(found & set(names) if names else found):
        if not (models / name).exists():
            sources = [bundle / name / str(_VERSION) for bundle in bundles]
            publishing.publish(models / name, partial(_copy, sources))


def _copy(sources: Sequence[Path], target: Path) -> None:
    names = [model_folder.variant_file(model_folder.ONNX_FILE, name) for name in PRECISIONS]
    for name in [model_folder.SIGNATURE_FILE, *names]:
        file = next((source / name for source in sources if (source / name).is_file()), None)
        if file:
            shutil.copyfile(file, target / name)
    if not _file(target, "fp16", within="").is_file():
        _make_fp16(target)


def _make_fp16(version: Path) -> None:
    """Write model.fp16.onnx from the float32 graph, or from the one with weights in 8 bits."""
    # Imported here, because a machine whose models have fp16 needs neither onnx nor the converter.
    import onnx  # noqa: PLC0415

    from export.precisions import fp16, w8  # noqa: PLC0415

    plain = _file(version, "fp32", within="")
    graph = (
        onnx.load(plain)
        if plain.is_file()
        else w8.restore(onnx.load(_file(version, "w8", within="")))
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the converter warns of each weight that it rounds to 0
        onnx.save(fp16.convert(graph), _file(version, "fp16", within=""))


def _file(folder: Path, precision: Precision, *, within: str = str(_VERSION)) -> Path:
    return folder / within / model_folder.variant_file(model_folder.ONNX_FILE, precision)


def images(count: int, seed: int = 0) -> np.ndarray:
    """Return test images of the sample in an order that a seed decides, again and again.

    Args:
        count: Number of images.
        seed: Seed of the order.

    Returns:
        uint8, shape (count, 32, 32, 3).
    """
    with np.load(SAMPLE) as sample:
        found: np.ndarray = sample["images"]
    order = np.random.default_rng(seed).permutation(len(found))
    return found[np.resize(order, count)]
