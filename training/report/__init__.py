"""Reports on finished runs: one HTML page and one Markdown page about the same blocks.

The command reads sources, page puts sections together, and pages write them. May import all of
training but run: it reads run folders as files.
"""
