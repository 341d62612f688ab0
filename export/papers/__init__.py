"""The papers of a version: metrics.json and MODEL_CARD.md, and their tables in Markdown.

May import convert, gates and sources. All but version_metrics, which looks at graphs and answers,
need neither TensorFlow nor ONNX Runtime.
"""
