"""Reads ONNX files for facts about a graph that ONNX Runtime does not report.

`serving/protos/onnx_graph.proto` declares the part of the format that is read, so that the server
does not need the `onnx` package.
"""

import mmap
import re
from collections.abc import Iterable
from pathlib import Path

from google.protobuf.message import DecodeError

from serving.errors import DataLoss
from serving.protos.onnx_graph_pb2 import ModelProto, NodeProto

# Bytes per search call. The call holds Python's GIL, so all other threads wait for it.
_SEARCHED_BYTES = 4 << 20


def read(path: Path) -> ModelProto:
    """Parse an ONNX file. The weights are copied, so a file of 100 MB takes about 0.1 s.

    Args:
        path: The file; external weight files are not read.

    Raises:
        DataLoss: the file is not an ONNX model.
        OSError: the file cannot be read.
    """
    try:
        return ModelProto.FromString(path.read_bytes())
    except DecodeError as error:
        msg = f"{path} is no ONNX model ({error}); copy or export the version again"
        raise DataLoss(msg) from error


def unknown_ranks(model: ModelProto) -> frozenset[str]:
    """Return the names of the graph's inputs and outputs that declare no shape."""
    graph = model.graph
    return frozenset(
        value.name
        for value in (*graph.input, *graph.output)
        if not value.type.tensor_type.HasField("shape")
    )


def find_operators(path: Path, operators: Iterable[str]) -> frozenset[str]:
    """Return which of the given operators a file holds: in its graph, subgraphs or functions.

    The bytes are searched, not parsed: that takes no memory, and 0.1 s for 100 MB. Weights may by
    chance hold the bytes of an operator's name, so an operator may be reported that the graph does
    not have. Use the result only to be more careful, never to skip a check.

    Args:
        path: The file; must not be empty.
        operators: Operator names, such as `Conv`.

    Raises:
        OSError: the file cannot be read.
    """
    fields = {NodeProto(op_type=name).SerializeToString(): name for name in operators}
    pattern, overlap = re.compile(b"|".join(map(re.escape, fields))), max(map(len, fields)) - 1
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return frozenset(
            fields[match.group()]
            for start in range(0, len(content), _SEARCHED_BYTES)
            for match in pattern.finditer(content, start, start + _SEARCHED_BYTES + overlap)
        )
