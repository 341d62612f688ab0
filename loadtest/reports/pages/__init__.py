"""One page for each reader: HTML, Markdown, CSV, the terminal, and the files of a report.

May import plots and the modules of reports beside it.
"""
