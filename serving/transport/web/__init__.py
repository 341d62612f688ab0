"""The web server on one endpoint: h2corn, its restarts, and the change of its certificate.

Only `h2corn_server` uses h2corn; any ASGI server with HTTP/2 trailers could replace it. May import
from `serving` what `serving.transport` may.
"""
