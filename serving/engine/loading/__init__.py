"""Loading versions: reading graphs, warm-up, progress log lines, and the models of a reload.

`servable` imports `graphs`, `progress` and `warming`; `graphs` imports `native_log`. `candidates`
imports `managed_model` and is imported by `manager`.
"""
