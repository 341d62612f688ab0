"""How good a classifier is, and how sure that is: accuracy, intervals, pairs; origin of figures.

Imports NumPy, the standard library and training.data alone.
"""
