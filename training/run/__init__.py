"""One training in a run folder: it starts or resumes, may stop early, and is evaluated at its end.

May import all of training except report. All files of a run folder are written by this package.
"""
