"""Variants of a float32 graph in fp16, w8 and int8: made, and judged by the precision gate.

May import gates, graphs, measure and papers. Writes the variants beside the float32 graph, and
removes those that the gate refuses.
"""
