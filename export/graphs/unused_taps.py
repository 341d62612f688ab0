"""Kernel taps that never meet the image: cut off, because all they multiply is padding.

A 3x3 kernel that is moved over a map of 1x1 pixels with a border of zeros sees the one pixel with
its middle tap alone. ResNet50 has three such layers where its images measure 32x32 pixels. Their
other eight taps were never trained; they are 6.3 of 25.7 million parameters, and they would set the
ranges by which the layer's weights are quantised.

Which taps those are follows from the shapes. With output positions o = 0, 1, ..., tap t reads input
position o * stride - pad + t * dilation; it is of use if that lies inside the map for any o.
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
        if not used:  # an output of padding alone; such a layer is its bias
            return slice(0, self.kernel), self.pad_begin, self.pad_end
        # The padding must not become negative, so some unused taps may have to stay.
        first = min(used[0], self.pad_begin // self.dilation)
        after = min(self.kernel - 1 - used[-1], self.pad_end // self.dilation)
        return (
            slice(first, self.kernel - after),
            self.pad_begin - first * self.dilation,
            self.pad_end - after * self.dilation,
        )


def crop(model: onnx.ModelProto) -> int:
    """Cut unused taps off the kernels of a graph, in place. Its answers stay the same.

    Convolutions of maps whose size is not fixed, with automatic padding, or whose weights are
    computed or used twice, stay as they are.

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
    """Whether a tensor is a constant that one node alone reads."""
    return name in graph.constants and len(graph.readers[name]) == 1


def _axes(sizes: Sequence[int], kernel: Sequence[int], given: Mapping[str, Any]) -> list[_Axis]:
    count = len(sizes)
    strides, dilations = given.get("strides", [1] * count), given.get("dilations", [1] * count)
    pads = given.get("pads", [0] * (2 * count))
    return [
        _Axis(sizes[i], kernel[i], strides[i], dilations[i], pads[i], pads[count + i])
        for i in range(count)
    ]
