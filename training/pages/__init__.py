"""The kit that HTML reports are made of: templates, style sheets, and charts as inline SVG.

The kit knows neither runs nor models. It imports only Jinja2 and the standard library, so that the
load test can use it without TensorFlow.
"""
