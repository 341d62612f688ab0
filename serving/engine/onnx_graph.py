"""An ONNX file as it was written, for what ONNX Runtime does not say about a graph.

`serving/protos/onnx_graph.proto` is the part of the format that is read; the `onnx` package is not
needed.
"""

import mmap
import re
from collections.abc import Iterable
from pathlib import Path

from google.protobuf.message import DecodeError

from serving.errors import DataLoss
from serving.protos.onnx_graph_pb2 import ModelProto, NodeProto

# At once, because nothing else of this process runs meanwhile.
_SEARCHED_BYTES = 4 << 20


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


def find_operators(path: Path, operators: Iterable[str]) -> frozenset[str]:
    """Which of some operators a file has, in its graph, in inner graphs and in functions.

    The bytes are searched, not parsed: that takes no memory, and 0.1 s for 100 MB. Weights could
    look like an operator's name by chance, so this does for what an operator forbids, not for what
    it promises.

    Args:
        path: The file; it is not empty.
        operators: Their names, as `Conv`.

    Raises:
        OSError: it cannot be read.
    """
    fields = {NodeProto(op_type=name).SerializeToString(): name for name in operators}
    pattern, overlap = re.compile(b"|".join(map(re.escape, fields))), max(map(len, fields)) - 1
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return frozenset(
            fields[match.group()]
            for start in range(0, len(content), _SEARCHED_BYTES)
            for match in pattern.finditer(content, start, start + _SEARCHED_BYTES + overlap)
        )
