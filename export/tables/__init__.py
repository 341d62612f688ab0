"""Tables in README.md and docs/training.md, generated from metrics.json files.

May import papers and the errors. Needs neither TensorFlow nor ONNX Runtime, because `make lint`
checks the tables.
"""
