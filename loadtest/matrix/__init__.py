"""Many runs in turn: a matrix file, the runs it describes, and one report on all of them.

May import plans, servers, transports, settings and, of session, only the stop signals: the runs'
own processes do the measuring.
"""
