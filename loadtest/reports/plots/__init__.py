"""Plots of a report, as figures of training's pages.

A plot without data is a figure without a drawing, whose caption says why. May import the modules of
reports beside it, but not pages.
"""
