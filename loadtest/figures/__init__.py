"""From a recording to figures: scores, percentiles, histograms, and the conditions around them.

Every function computes one section of the report from raw values. May import generator, load and
transports, and the statistics of training. It judges nothing: that is verdict's part.
"""
