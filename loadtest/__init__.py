"""A load test that measures latency and accuracy on the same answers.

A run uses the subpackages in this order: settings, load (which images are sent, and when),
transports (request and answer bytes), generator (sends requests and records answers), figures
(scores and percentiles), verdict (validity and gates), session (one run and its report), capacity
and matrix (many runs), reports. Each subpackage imports only the layers below it, which
`pyproject.toml` lists. `web` sends and scores the same requests in Locust's web UI. The whole
package may import the client, errors, tensor codecs and messages of serving, and the data reader,
statistics and kit of pages of training; it never imports export, TensorFlow, Keras or JAX.
"""
