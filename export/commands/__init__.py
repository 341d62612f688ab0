"""The commands of `python -m export`: functions from parsed flags to an exit code.

A command prints its result; the other folders of export do the work, and it may import any of them.
It imports TensorFlow and ONNX Runtime only when it runs, because --help and `tables` need neither.
argument_types has the types of flags.
"""
