"""Devices: the execution provider, the probe of CUDA, sessions and their options, memory.

`engine.runtime` and `engine.binding` import this folder. May import `repository`, `errors` and
`protos`.
"""
