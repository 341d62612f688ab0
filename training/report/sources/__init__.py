"""The sources of a report: run folders, data set, the models' answers, published figures.

May import formats, and of training data, evaluation, model and settings, but not pages.
"""
