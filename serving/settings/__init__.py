"""The settings: flags, environment variables, and the files of TensorFlow Serving that they name.

It gives every other part its own configuration object and may import all folders below it; nothing
but the start of the server imports it.
"""
