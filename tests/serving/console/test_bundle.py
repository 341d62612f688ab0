"""The page: one document, small, that loads nothing and runs only its own script."""

import base64
import gzip
import hashlib
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

from serving.console import bundle

FOLDER = Path(bundle.__file__).parent / "page"
MOST_BYTES = 200_000
# Forms of code that turn text into markup or into code.
DANGEROUS = re.compile(
    r"\b(?:innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval|Function|DOMParser|srcdoc"
    r"|setHTMLUnsafe|createContextualFragment|execCommand)\b"
)
TOP_LEVEL = re.compile(r"^(?:export )?(?:async )?(?:function|class|const|let) (\w+)", re.MULTILINE)


class Tags(HTMLParser):
    """Collects tags with their attributes, and the texts inside of them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self._open = ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        """Note a tag."""
        self.tags.append((tag, dict(attrs)))
        self._open = tag

    def handle_data(self, data):
        """Note a text."""
        self.texts.setdefault(self._open, []).append(data)

    def handle_endtag(self, tag):
        """Note the end of a tag."""
        self._open = ""


def test_the_page_is_small():
    """It has less than 200 kB, uncompressed, and the compressed form is the same page."""
    page = bundle.page()

    assert len(page.html) < MOST_BYTES
    assert gzip.decompress(page.zipped) == page.html
    assert len(page.zipped) < len(page.html) / 2


def test_the_page_loads_nothing():
    """No tag has an address outside of the page, and no style sheet has one."""
    tags = Tags(bundle.page().html.decode())
    addresses = [
        value
        for _, attributes in tags.tags
        for name, value in attributes.items()
        if name in {"src", "href", "action", "data", "poster", "srcset"}
    ]
    style = "".join(tags.texts["style"])

    assert set(addresses) == {"#main", "data:,"}
    assert "url(" not in style
    assert "@import" not in style
    assert [a.get("type") for tag, a in tags.tags if tag == "script"] == [
        "application/json",
        "module",
    ]


def test_the_policy_names_the_script_and_the_style_sheet():
    """The hashes are those of the texts in the document, and nothing else may run or be loaded."""
    page = bundle.page()
    html = page.html.decode()
    rules = dict(rule.partition(" ")[::2] for rule in page.policy.split("; "))

    def digest(pattern: str) -> str:
        text = re.search(pattern, html, re.DOTALL)[1]
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

    assert rules["script-src"] == digest(r'<script type="module">(.*?)</script>')
    assert rules["style-src"] == digest(r"<style>(.*?)</style>")
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    assert rules["frame-ancestors"] == rules["trusted-types"] == "'none'"
    assert rules["connect-src"] == "'self'"
    assert "unsafe" not in page.policy


def test_every_file_is_part_of_the_page():
    """The lists name all scripts and style sheets, and each script comes after its imports."""
    assert {file.name for file in FOLDER.glob("*.js")} == set(bundle.SCRIPTS)
    assert {file.name for file in FOLDER.glob("*.css")} == set(bundle.STYLES)
    for index, name in enumerate(bundle.SCRIPTS):
        text = (FOLDER / name).read_text()
        for imported in re.findall(r'from "\./(\w+\.js)"', text):
            assert imported in bundle.SCRIPTS[:index], f"{name} imports {imported}"


def test_joined_modules_have_no_imports_left_and_no_name_twice():
    """All scripts share one scope, so no two of them may define the same name."""
    script = re.search(
        r'<script type="module">(.*)</script>', bundle.page().html.decode(), re.DOTALL
    )
    names = Counter(
        name for file in bundle.SCRIPTS for name in TOP_LEVEL.findall((FOLDER / file).read_text())
    )

    assert re.findall(r"^(?:import|export)\b.*", script[1], re.MULTILINE) == []
    assert [name for name, count in names.items() if count > 1] == []
    assert len(names) > 50


def test_no_script_turns_text_into_markup():
    """The scripts build nodes; they use no property or function that parses markup or code."""
    found = {
        name: DANGEROUS.findall((FOLDER / name).read_text())
        for name in bundle.SCRIPTS
        if DANGEROUS.search((FOLDER / name).read_text())
    }

    assert found == {}


def test_the_look_is_that_of_the_reports():
    """Colours and charts are those of the reports' style sheets, which `serving` may not import."""
    templates = Path(__file__).parents[3] / "training" / "pages" / "templates"

    for name in ("colours.css", "chart.css"):
        assert (FOLDER / name).read_text() == (templates / name).read_text()
