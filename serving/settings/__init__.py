"""The settings: flags, environment variables, and the files of TensorFlow Serving that they name.

`ServerConfig` builds a separate configuration object for each part of the server. The package may
import all folders below it; only the modules that start the server import it.
"""
