"""Trains CIFAR-10 classifiers with Keras, measures them, and reports on the runs.

Imports none of the other packages. Their code may import the folders data and evaluation, which
need NumPy alone, pages, which needs Jinja2 alone, and settings.
"""
