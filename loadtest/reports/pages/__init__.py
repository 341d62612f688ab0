"""A report as HTML, Markdown, CSV and text for a terminal, and the files that hold it.

May import plots and the modules of reports beside it.
"""
