"""Loading versions: reading graphs, progress log lines, and the models of a reload.

`servable` imports `graphs` and `progress`. `candidates` imports `managed_model` and is imported by
`manager`.
"""
