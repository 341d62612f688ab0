"""Batching: the request queue, the batches, and the runs in progress.

This folder does not depend on models: the caller passes a function that runs a batch. It may import
only `stage_times`, `errors` and `engine.machine`.
"""
