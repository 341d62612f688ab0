"""From bytes to requests and back: one folder for each API, and what the APIs share.

A handler decodes, calls `inference`, `engine.catalog` or `engine.manager`, and encodes. `*_methods`
are rows of the gRPC method table, `*_routes` rows of the HTTP route table. May import
`monitoring`, `inference` and what is below them; the two APIs do not import each other.
"""
