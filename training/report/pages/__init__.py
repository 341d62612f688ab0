"""A report as HTML and as Markdown: blocks, the two renderers, and charts.

Knows blocks and figures, but neither runs nor data sets. May import of training evaluation and
pages alone.
"""
