"""JSON text as TensorFlow Serving reads and writes it: RapidJSON's rules, errors and layout.

It knows nothing of tensors or models. Of `serving` it imports the errors and, in `jobs`, what reads
large bodies.
"""
