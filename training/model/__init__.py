"""Keras models: the two architectures, faster layers to train them with, optimizer, predictions.

May import settings, environment, evaluation and data. Knows nothing of run folders.
"""
