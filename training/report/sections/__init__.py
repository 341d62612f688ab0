"""The sections of a report: each turns runs and evidence into blocks of text, tables and charts.

May import sources, pages and formats, and of training data, evaluation and settings. The sections
read no files.
"""
