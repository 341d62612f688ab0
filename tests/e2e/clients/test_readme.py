"""The README's first snippet; `test_snippets` runs it with the blocks of all other pages."""

import snippets


def test_the_first_snippet_is_short():
    """The first Python snippet has at most six lines."""
    snippet = next(block for block in snippets.blocks("README.md") if block.language == "python")

    assert len([line for line in snippet.text.splitlines() if line.strip()]) <= 6
