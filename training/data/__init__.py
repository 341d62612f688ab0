"""CIFAR-10 in every form it comes in, as NumPy arrays.

Imports NumPy and the standard library alone, and nothing of this project; Keras (to download) and
Pillow (to read image files) are imported inside the one function that needs each.
"""
