"""Other precisions of a float32 graph: fp16, w8 and int8, each made and judged.

May import gates, graphs, measure and papers. Makes files beside the float32 graph, and removes
those that a gate refuses.
"""
