"""The documentation builds as a site, without a warning, and loads nothing from the internet."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Tags whose address a browser loads when it shows the page, unlike links in the text.
LOADED = {"link": "href", "script": "src", "img": "src", "iframe": "src", "source": "src"}

pytest.importorskip("mkdocs", reason="the extra `site` is not installed")


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """Build the site and return its folder; a broken link or anchor fails the build."""
    folder = tmp_path_factory.mktemp("site")
    result = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert "WARNING" not in result.stderr
    return folder


class Addresses(HTMLParser):
    """Collects the addresses that a page loads, and whether it has a Mermaid diagram."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.mermaid = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Record the address of a tag."""
        values = dict(attrs)
        address = values.get(LOADED.get(tag, ""))
        # A <link> with one of these relations loads nothing.
        if address and values.get("rel") not in {"canonical", "next", "prev"}:
            self.found.append(address)
        # Material loads a program from the internet to draw these.
        self.mermaid |= "mermaid" in (values.get("class") or "").split()


def read(page: Path) -> Addresses:
    addresses = Addresses()
    addresses.feed(page.read_text())
    return addresses


def test_the_pages_load_nothing_from_the_internet(site):
    """Fonts, scripts, styles and pictures of every page are in the site."""
    # The folder of a source file has the file's name.
    pages = {page: read(page) for page in site.rglob("*.html") if page.is_file()}
    styles = "".join(one.read_text() for one in site.rglob("*.css") if one.is_file())

    assert len(pages) > 30
    assert [address for page in pages.values() for address in page.found if "//" in address] == []
    assert [page for page, addresses in pages.items() if addresses.mermaid] == []
    missing = {
        address
        for page, addresses in pages.items()
        for address in addresses.found
        if not (site / address[1:] if address[0] == "/" else page.parent / address).exists()
    }
    assert missing == set()
    assert re.findall(r"(?:url\(|@import\s)[\"']?(?:https?:)?//[^)\"']*", styles) == []


def test_the_site_has_every_page(site):
    """Every page of docs/ and deploy/, and the README, is in the site; the first is docs/README."""
    names = [f"docs/{page.stem}" for page in ROOT.glob("docs/*.md") if page.stem != "README"]

    missing = [name for name in [*names, "readme", "deploy"] if not (site / name).is_dir()]

    assert missing == []
    assert "Where to go from here" in (site / "index.html").read_text()


def test_the_tests_marks_are_not_on_the_pages(site):
    """The notes for the tests in info strings are not part of the pages."""
    assert "not run:" not in (site / "docs/migration/index.html").read_text()


def test_source_files_are_shown_and_not_searched(site):
    """A link to a source file leads to a page with its text, which the search leaves out."""
    index = (site / "search" / "search_index.json").read_text()

    assert "class ServerConfig" in re.sub(
        r"<[^>]*>", "", (site / "source/serving/settings/config.py/index.html").read_text()
    )
    assert '"location":"docs/' in index
    assert '"location":"source/' not in index
