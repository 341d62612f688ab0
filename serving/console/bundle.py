"""The page: its files, joined to one HTML document that loads nothing else.

The scripts are ES modules, so that editors and tests can read each by itself. Their `import` lines
and the word `export` are left out when they are joined, because all of them share the scope of one
`<script>`. Joining happens at the first request; there is nothing to build at installation.

The Content-Security-Policy names the SHA-256 of the script and of the style sheet: the browser runs
and applies no others, whatever a text of a model contains. Trusted Types forbid the script itself
to turn text into markup.
"""

import base64
import gzip
import hashlib
import json
import re
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from typing import NamedTuple

# A file comes after those that it imports from.
SCRIPTS = (
    "dom.js",
    "numbers.js",
    "api.js",
    "markdown.js",
    "plot.js",
    "history.js",
    "parts.js",
    "matrix.js",
    "models.js",
    "live.js",
    "tensors.js",
    "snippets.js",
    "snippet_view.js",
    "pictures.js",
    "try_pictures.js",
    "try_form.js",
    "schema.js",
    "docs.js",
    "main.js",
)
STYLES = ("colours.css", "style.css", "chart.css", "console.css")
_FOLDER = "page"
_IMPORT = re.compile(r"^import\s+\{[^}]*\}\s+from\s+\"\./[a-z_]+\.js\";\n", re.MULTILINE)
_EXPORT = re.compile(r"^export\s+(?=(?:async\s+)?function\b|const\b|let\b|class\b)", re.MULTILINE)
_ENDS = re.compile(r"</(?:script|style)", re.IGNORECASE)


class Page(NamedTuple):
    """The page.

    Attributes:
        html: The document, UTF-8.
        zipped: The document, compressed with gzip.
        policy: Value of its Content-Security-Policy.
    """

    html: bytes
    zipped: bytes
    policy: str


@cache
def page() -> Page:
    """Return the page; its files are read once."""
    folder = resources.files("serving.console") / _FOLDER
    script = "\n".join(_plain(_read(folder, name)) for name in SCRIPTS)
    style = "\n".join(_read(folder, name) for name in STYLES)
    parts = {
        "/*style*/": style,
        "/*script*/": script,
        "/*samples*/": json.dumps(_samples(folder)),
    }
    html = _read(folder, "page.html")
    for mark, text in parts.items():
        before, found, after = html.partition(mark)
        if not found or _ENDS.search(text):
            msg = f"page.html has no {mark}, or its text would end the element around it"
            raise ValueError(msg)
        html = before + text + after
    content = html.encode()
    return Page(content, gzip.compress(content, mtime=0), _policy(script, style))


def _read(folder: Traversable, name: str) -> str:
    return (folder / name).read_text(encoding="utf-8")


def _plain(module: str) -> str:
    """Return a module's text without its imports and exports."""
    return _EXPORT.sub("", _IMPORT.sub("", module))


def _samples(folder: Traversable) -> dict[str, str]:
    """Return the sample pictures as data URLs, by the name of what they show."""
    files = sorted((folder / "samples").iterdir(), key=lambda file: file.name)
    return {
        file.name.removesuffix(".png"): "data:image/png;base64,"
        + base64.b64encode(file.read_bytes()).decode()
        for file in files
        if file.name.endswith(".png")
    }


def _policy(script: str, style: str) -> str:
    """Return the policy of a page with this script and this style sheet."""
    rules = (
        "default-src 'none'",
        f"script-src '{_hash(script)}'",
        f"style-src '{_hash(style)}'",
        "img-src data: blob:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
    return "; ".join(rules)


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"
