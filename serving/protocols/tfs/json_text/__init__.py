"""JSON text as TensorFlow Serving reads and writes it: RapidJSON's rules, errors and layout.

It knows nothing of tensors or models; of `serving` it imports the errors alone.
"""
