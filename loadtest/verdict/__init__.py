"""The judgement on a run: rules of validity, gates, and the comparison with a baseline.

Every check says in words what was measured and what was expected. May import figures, load and
settings. It sends nothing and writes nothing.
"""
