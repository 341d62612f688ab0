"""The environment variable that makes a process a worker; its import costs nothing."""

VARIABLE = "ONNX_SERVING_WORKER"
