"""ONNX Runtime, imported with its telemetry off; the engine imports it from here."""

import os

# From version 1.29 on, ONNX Runtime reports usage over the network unless this variable is set
# before its import.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime

__all__ = ["onnxruntime"]
