"""The console at `/`: a page about the models, their live figures and answers, and its documents.

May import `monitoring`, `engine`, `repository`, `transport`, `tensors` and `access`. The files of the
page are in the folder `page`; browsers get them as one HTML document.
"""
