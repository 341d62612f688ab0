"""Cut off kernel taps that are only ever multiplied with padding.

If a 3x3 kernel moves over a map of 1x1 pixels with a border of zeros, only its middle tap meets the
pixel. ResNet50 has three such layers for images of 32x32 pixels. Their other eight taps were never
trained. They are 6.3 of the 25.7 million parameters, and they would set the ranges by which the
layer's weights are quantised.

The shapes determine the unused taps. With output positions o = 0, 1, ..., tap t reads the input
position o * stride - pad + t * dilation; a tap is used if that position lies inside the map for any
o.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import onnx

from export.graphs.graph import Graph, set_attribute, settings


@dataclass(frozen=True)
class _Axis:
    """One spatial axis of a convolution."""

    size: int
    kernel: int
    stride: int
    dilation: int
    pad_begin: int
    pad_end: int

    def cropped(self) -> tuple[slice, int, int]:
        """The taps to keep, and the padding that remains before and after the map."""
        reach = (self.kernel - 1) * self.dilation + 1
        outputs = (self.size + self.pad_begin + self.pad_end - reach) // self.stride + 1
        used = [
            tap
            for tap in range(self.kernel)
            if any(
                0 <= output * self.stride - self.pad_begin + tap * self.dilation < self.size
                for output in range(outputs)
            )
        ]
        if not used:  # the layer reads only padding: its output is its bias
            return slice(0, self.kernel), self.pad_begin, self.pad_end
        # Keep some unused taps if the padding would become negative without them.
        first = min(used[0], self.pad_begin // self.dilation)
        after = min(self.kernel - 1 - used[-1], self.pad_end // self.dilation)
        return (
            slice(first, self.kernel - after),
            self.pad_begin - first * self.dilation,
            self.pad_end - after * self.dilation,
        )


def crop(model: onnx.ModelProto) -> int:
    """Cut unused taps off the kernels of a graph, in place. The answers stay the same.

    A convolution is not changed if the size of its map is not fixed, if its padding is automatic,
    or if its weights are computed or used twice.

    Returns:
        The number of weights cut off.
    """
    graph = Graph(model)
    removed = 0
    for node in graph.nodes:
        if node.op_type != "Conv" or not _is_own(graph, node.input[1]):
            continue
        given = settings(node)
        sizes = graph.shapes.get(node.input[0], ())[2:]
        if given.get("auto_pad", b"NOTSET") != b"NOTSET" or not sizes or not all(sizes):
            continue
        before = graph.array(node.input[1])
        crops = [axis.cropped() for axis in _axes(sizes, before.shape[2:], given)]
        after = before[(slice(None), slice(None), *(taps for taps, _, _ in crops))]
        if after.size == before.size:
            continue
        graph.set_array(node.input[1], after.copy())
        set_attribute(node, "kernel_shape", after.shape[2:])
        set_attribute(node, "pads", [crop[1] for crop in crops] + [crop[2] for crop in crops])
        removed += before.size - after.size
    return removed


def _is_own(graph: Graph, name: str) -> bool:
    """Whether a tensor is a constant that only one node reads."""
    return name in graph.constants and len(graph.readers[name]) == 1


def _axes(sizes: Sequence[int], kernel: Sequence[int], given: Mapping[str, Any]) -> list[_Axis]:
    count = len(sizes)
    strides, dilations = given.get("strides", [1] * count), given.get("dilations", [1] * count)
    pads = given.get("pads", [0] * (2 * count))
    return [
        _Axis(sizes[i], kernel[i], strides[i], dilations[i], pads[i], pads[count + i])
        for i in range(count)
    ]
