"""Inputs of Predict as JSON, and the specs that they are decoded by."""

import numpy as np

from serving.protocols.tfs import json_predict
from serving.tensors.signature import DataType, TensorSpec


def spec(dtype: str, *shape: int) -> TensorSpec:
    return TensorSpec(dtype=DataType[dtype], shape=shape or (-1,), tensor="x", graph_name="x")


def decode(text: str, **specs: TensorSpec) -> tuple[dict[str, np.ndarray], bool]:
    return json_predict.decode_inputs(json_predict.parse(text.encode()), specs)
