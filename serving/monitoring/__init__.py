"""Monitoring for operators: counts, the metrics page, traces and the log.

May import `engine`, `repository`, `transport` and `tensors`, but not `inference`.
"""
