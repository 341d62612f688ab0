"""Trains CIFAR-10 classifiers with Keras, evaluates them, and writes reports on the runs.

It imports none of the other packages. They may import the subpackages data and evaluation, which
need only NumPy, pages, which needs only Jinja2, settings, and the modules live_line,
native_log and standard_streams.
"""
