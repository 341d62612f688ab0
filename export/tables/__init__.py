"""Tables in README.md and docs/training.md, written from metrics.json alone.

May import papers and the errors. Needs neither TensorFlow nor ONNX Runtime, because `make lint`
checks the tables.
"""
