"""The console at `/`: a page about models, live figures and answers, and what the page reads.

May import `monitoring`, `engine`, `repository`, `transport`, `tensors` and `access`. The files of
the page are in the folder `page`; browsers get them as one HTML document.
"""
