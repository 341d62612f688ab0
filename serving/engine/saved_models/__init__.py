"""Runs SavedModels with TensorFlow: sessions, signatures, and checks of a graph's operators.

No other folder of the server imports TensorFlow. `engine.loading.graphs` imports this folder only
when a version needs it, so a server of ONNX models never loads TensorFlow. May import
`engine.runtime`, `tensors` and `errors`. `session` is also used by `export`.
"""
