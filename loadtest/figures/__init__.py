"""The figures of a recording: scores, percentiles, histograms, and the conditions of measurement.

Sections of the report are computed from raw values. May import generator, load and transports, and
the statistics of training. It judges no figure; `verdict` does.
"""
