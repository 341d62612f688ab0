"""The documents of a version: metrics.json and MODEL_CARD.md, and their tables in Markdown.

May import convert, gates and sources. Only version_metrics, which reads graphs and answers, needs
TensorFlow or ONNX Runtime.
"""
