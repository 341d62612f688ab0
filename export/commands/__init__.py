"""What each command of `python -m export` does: a function from parsed flags to an exit code.

A command prints its result and leaves the work to the rooms below. It may import any of them, but
TensorFlow and ONNX Runtime only when it runs, because --help and `tables` need neither.
"""
