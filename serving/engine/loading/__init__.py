"""Loading versions: reading graphs, progress log lines, and the models of a reload.

`servable` imports `graphs` and `progress`; `graphs` imports `native_log`. `candidates` imports
`managed_model` and is imported by `manager`.
"""
