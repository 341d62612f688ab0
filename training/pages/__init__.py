"""The kit that HTML reports are made of: templates, style sheets, and charts as inline SVG.

Knows neither runs nor models. Imports Jinja2 and the standard library alone, so that the load test
can use it without TensorFlow.
"""
