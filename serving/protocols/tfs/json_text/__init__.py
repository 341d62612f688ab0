"""JSON text as TensorFlow Serving reads and writes it: RapidJSON's rules, errors and layout.

The folder depends on no model and no signature. Of `serving` it imports `errors`; `jobs` also
imports `protocols.json_process` and the HTTP request type.
"""
