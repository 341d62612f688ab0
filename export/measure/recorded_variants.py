"""The variants of a version whose answers to the test images are recorded, ready to be asked."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from export.errors import ExportError
from serving.engine.machine import available_cores
from serving.engine.runtime import Runtime, RuntimeConfig
from serving.repository.model_folder import ModelFolder
from serving.tensors.signature import DEFAULT_SIGNATURE_NAME, Signature
from training.data.cifar10 import Split

_BATCH_SIZE = 500


@dataclass(frozen=True, kw_only=True)
class RecordedVariant:
    """A variant of a version.

    Attributes:
        precision: Its precision.
        entry: Its entry of metrics.json, with the recorded answers.
        runtime: Its graph, with the server's settings on the CPU.
        signature: The version's default signature.
    """

    precision: str
    entry: Mapping[str, Any]
    runtime: Runtime
    signature: Signature

    def answers(self, output: str, images: npt.NDArray[np.uint8]) -> npt.NDArray[Any]:
        """Ask the graph about images.

        Args:
            output: An output of the signature: "classes" or "probabilities".
            images: uint8, shape (n, height, width, 3).

        Returns:
            The output's dtype, shape (n, ...).
        """
        tensor = self.signature.inputs["images"].tensor
        outputs = [self.signature.outputs[output].tensor]
        return np.concatenate(
            [
                self.runtime.run(outputs, {tensor: images[start : start + _BATCH_SIZE]})[0]
                for start in range(0, len(images), _BATCH_SIZE)
            ]
        )


def open_all(
    folder: ModelFolder, metrics: Mapping[str, Any], split: Split
) -> list[RecordedVariant]:
    """Load the variants with a file in the folder and recorded answers to these images.

    Args:
        folder: The version.
        metrics: Content of the version's metrics.json.
        split: The test images.

    Raises:
        ExportError: metrics.json has no answers for any ONNX file in the folder, or it has answers
            to other images.
    """
    config = RuntimeConfig(device="cpu", intra_op_threads=available_cores())
    found = [
        RecordedVariant(
            precision=precision,
            entry=entry,
            runtime=Runtime(folder.path / entry["file"], config, precision),
            signature=folder.signatures[DEFAULT_SIGNATURE_NAME],
        )
        for precision, entry in metrics.get("variants", {}).items()
        if "predictions" in entry and (folder.path / entry["file"]).is_file()
    ]
    if not found:
        msg = (
            f"{folder.path} has no ONNX file whose answers to the test images are recorded; pass a "
            "version that python -m export RUN_DIR has published"
        )
        raise ExportError(msg)
    if split.sha256() != metrics["data"]["sha256"]:
        msg = (
            f"these are {len(split):,} test images with SHA-256 {split.sha256()}, but "
            f"{folder.path} was judged by {metrics['data']['images']:,} with "
            f"{metrics['data']['sha256']}; pass the folder of those images as --data-dir"
        )
        raise ExportError(msg)
    return found
