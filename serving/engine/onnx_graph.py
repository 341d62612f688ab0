"""An ONNX file as it was written, for what ONNX Runtime does not say about a graph.

`serving/protos/onnx_graph.proto` is the part of the format that is read; the `onnx` package is not
needed.
"""

from pathlib import Path

from google.protobuf.message import DecodeError

from serving.errors import DataLoss
from serving.protos.onnx_graph_pb2 import ModelProto


def read(path: Path) -> ModelProto:
    """Parse a file. Its weights are copied, so a file of 100 MB takes about 0.1 s.

    Args:
        path: The file; weights in files beside it are not read.

    Raises:
        DataLoss: the file is no ONNX model.
        OSError: it cannot be read.
    """
    try:
        return ModelProto.FromString(path.read_bytes())
    except DecodeError as error:
        msg = f"{path} is no ONNX model ({error}); copy or export the version again"
        raise DataLoss(msg) from error


def unknown_ranks(model: ModelProto) -> frozenset[str]:
    """Names of the graph's inputs and outputs that are tensors without a declared shape."""
    graph = model.graph
    return frozenset(
        value.name
        for value in (*graph.input, *graph.output)
        if not value.type.tensor_type.HasField("shape")
    )
