"""An ONNX file as a message, for what ONNX Runtime does not tell of it."""

from pathlib import Path

from google.protobuf.message import DecodeError

from serving.errors import DataLoss
from serving.protos.onnx_graph_pb2 import ModelProto


def read(path: Path) -> ModelProto:
    """Read an ONNX file.

    Raises:
        DataLoss: it is none.
    """
    try:
        return ModelProto.FromString(path.read_bytes())
    except DecodeError as error:
        msg = f"{path} is no ONNX file: {error}"
        raise DataLoss(msg) from error
