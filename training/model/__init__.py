"""Keras models: architectures, layers to train them with, optimizer, predictions.

May import settings, environment, evaluation and data. It does not use run folders.
"""
