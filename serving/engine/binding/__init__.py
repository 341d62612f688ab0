"""Binding: runs on fixed buffers, one for each batch size of a signature and each worker thread.

`servable` imports `plan` and `version_binding`. May import `engine.runtime`, `engine.devices` and
`engine.batching`.
"""
