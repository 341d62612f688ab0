"""Settings of a training: recipes, and the command line that overrides them.

Imports the standard library and training.data alone, so that --help needs no Keras.
"""
