"""Readers of CIFAR-10 in all its forms; they return NumPy arrays.

Imports only NumPy and the standard library, and nothing of this project. Keras (for the download)
and Pillow (for image files) are each imported inside the function that needs it.
"""
