"""The blocks and figures of a report, and their HTML and Markdown renderers.

These modules know neither runs nor data sets. Of training they may import evaluation and pages.
"""
