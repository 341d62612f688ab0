"""JSON text as TensorFlow Serving reads and writes it: RapidJSON's rules, errors and layout.

The folder knows no tensors or models. Of `serving` it imports `errors`, and `jobs` also imports
`protocols.json_process` and the HTTP request type.
"""
