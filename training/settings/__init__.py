"""Settings of a training: recipes, and the command line, whose flags override them.

Imports only the standard library and training.data, so that --help needs no Keras.
"""
