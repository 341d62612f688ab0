"""Evaluation of classifiers: accuracy, its intervals, paired comparisons, tests, origin of figures.

Imports only NumPy, the standard library and training.data.
"""
