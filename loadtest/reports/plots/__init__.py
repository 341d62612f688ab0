"""Plots of a report as inline SVG, without a plotting library.

A plot without data is None with a reason. May import the modules of reports beside it, not pages.
"""
