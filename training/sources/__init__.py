"""Pictures of any classes and sizes: where they are, what is wrong with them, and their pixels.

Reads folders of pictures, tables of paths and data sets of Hugging Face on a disk, and passes
CIFAR-10 on to training.data. Imports training.data, live_line and storage, and no Keras. Pillow and
PyArrow are imported inside the functions that need them.
"""
