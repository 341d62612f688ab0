"""Protocol buffer messages, wire-compatible with TensorFlow Serving and KServe, in a private pool.

`generate` compiles the `.proto` files. May import no other package of `serving`.
"""
