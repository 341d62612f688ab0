"""One training in a run folder: begun, resumed after a kill, stopped early, measured at its end.

May import all of training but report. Every file of a run folder is written here.
"""
