"""Reports on finished runs: an HTML page and a Markdown page with the same blocks.

`command` reads the sources, `page` puts the sections together, and `pages` writes them. May import
all of training but run, because it reads run folders as files.
"""
