"""Requests that wait together run together: the queue, the batches, and the runs that go on.

Knows nothing of models: it is handed a function that runs a batch. May import `stage_times`,
`errors` and `engine.machine` alone.
"""
