"""A load test that measures latency and accuracy of the same answers.

A run passes the rooms in this order: settings, load (what is sent, and when), transports (bytes),
generator (sends and records), figures (scores and percentiles), verdict (valid, gates), session
(one run and its report), capacity and matrix (many runs), reports. Each room imports only rooms
below it; `pyproject.toml` has the order. `web` is Locust's door to the same rooms. The whole
package may import the client, errors, tensor codecs and messages of serving, and the data reader,
statistics and kit of pages of training; it never imports export, TensorFlow, Keras or JAX.
"""
