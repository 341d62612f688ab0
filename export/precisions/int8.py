"""`model.int8.onnx`: weights and activations in 8 bits, for the integer instructions of a CPU.

    model.onnx ─▶ rearranged for int8 kernels ─▶ ranges ─▶ QuantizeLinear, DequantizeLinear

Weights are signed, with one scale an output channel; activations are unsigned, with one range a
tensor. ONNX Runtime has fast kernels for this combination on x86. Two layers stay float32:

- the first convolution and its pooling: for three input channels, ONNX Runtime's integer kernel
  takes twice as long as its float kernel;
- the last layer: it takes very little time, and logits in 256 steps would tie.
"""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnxruntime.quantization import (
    CalibrationMethod,
    QDQQuantizer,
    QuantType,
    TensorData,
    TensorsData,
)

from export.graphs import rearrange
from export.precisions import calibration
from export.precisions.calibration import Range

_QUANTIZED = ("Add", "Conv", "Gemm", "MaxPool", "Relu", "Reshape", "Transpose")
_LAYERS = ("Conv", "Gemm")


def quantize(model: onnx.ModelProto, inputs: Mapping[str, npt.NDArray[Any]]) -> onnx.ModelProto:
    """A copy with quantised weights and activations.

    Args:
        model: A float32 graph.
        inputs: Rows for the ranges of activations, by input name, each of shape (n, ...).
    """
    arranged = onnx.ModelProto.FromString(model.SerializeToString())
    rearrange.join_dense_layers(arranged)
    kept = rearrange.pool_first(arranged)
    layers = [node.name for node in arranged.graph.node if node.op_type in _LAYERS]
    return _insert(arranged, calibration.ranges(arranged, inputs), exclude=[*kept, *layers[-1:]])


def _insert(
    model: onnx.ModelProto, ranges: Mapping[str, Range], *, exclude: Collection[str]
) -> onnx.ModelProto:
    """Put QuantizeLinear and DequantizeLinear around all but the excluded nodes."""
    data = {
        name: TensorData(lowest=np.float32(low), highest=np.float32(high))
        for name, (low, high) in ranges.items()
    }
    quantizer = QDQQuantizer(
        onnx.shape_inference.infer_shapes(model),
        per_channel=True,
        reduce_range=False,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QUInt8,
        tensors_range=TensorsData(CalibrationMethod.MinMax, data),
        nodes_to_quantize=[],
        nodes_to_exclude=list(exclude),
        op_types_to_quantize=list(_QUANTIZED),
        extra_options={},
    )
    quantizer.quantize_model()
    quantizer.model.topological_sort()  # the quantizer appends its nodes at the end
    quantized: onnx.ModelProto = quantizer.model.model
    del quantized.graph.value_info[:]
    onnx.checker.check_model(quantized, full_check=True)
    return quantized
