"""Gives MkDocs the repository's pages under their own paths: see mkdocs.yml.

MkDocs reads one folder, but the documentation is in several: `docs/`, `README.md`, `deploy/`, the
model cards. This hook therefore gives each page the path that it has in the repository. A relative
link such as `../serving/server.py` then leads to the same file on a code host and in the site, and
MkDocs checks it. If a page links a source file, the site has a page with the file's text.
"""

import logging
import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

log = logging.getLogger("mkdocs.hooks.site_hook")  # a warning ends a strict build

ROOT = Path(__file__).parents[1]
PAGES = ("*.md", "docs/*.md", "deploy/*.md", "models/*/*/MODEL_CARD.md")
START = "docs/README.md"
STYLE = "docs/site.css"
# Linked files of these kinds are copied; every other kind is text, which is shown as a page.
COPIED = {".json", ".png", ".svg"}
LANGUAGES = {".py": "python", ".toml": "toml", ".proto": "protobuf", ".yaml": "yaml"}
FENCE = re.compile(r"^( *)```.*?^ *```$", re.DOTALL | re.MULTILINE)
# Pictures in HTML, for example with a width: MkDocs does not adapt their addresses.
PICTURE = re.compile(r'(<img [^>]*?src=")([^":]+)"')
LINK = re.compile(r"\]\(([^)\s#:]+)(?:#[^)\s]*)?\)")
# A fence's info string: the language, then notes for the tests (see CONTRIBUTING.md).
INFO = re.compile(r'^( *)```(\w+) (?:.*?(title="[^"]*"))?.*$', re.MULTILINE)


class SourcePage(File):
    """A file of the repository as a page with its text."""

    def is_documentation_page(self) -> bool:
        """Return True: MkDocs would copy the file, because its name does not end in `.md`."""
        return True

    @property
    def content_string(self) -> str:
        """The page in Markdown; the site's search leaves it out."""
        text = (ROOT / self.src_uri).read_text()
        language = LANGUAGES.get(Path(self.src_uri).suffix, "text")
        return (
            f"---\ntitle: {self.src_uri}\nsearch:\n  exclude: true\n---\n"
            f"# {self.src_uri}\n\n`````{language}\n{text}`````\n"
        )

    @content_string.setter
    def content_string(self, _value: str) -> None: ...


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Set the function that makes anchors, so that they equal those of code hosts."""
    config.mdx_configs.setdefault("toc", {})["slugify"] = anchor
    return config


def anchor(heading: str, separator: str) -> str:
    """Return a heading's anchor; unlike MkDocs' own, `a / b` and `--port` keep both separators."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", separator)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Replace the files of docs_dir by the repository's pages and what they link."""
    for file in list(files):
        if file.src_dir == config.docs_dir:
            files.remove(file)
    pages = sorted(str(path.relative_to(ROOT)) for pattern in PAGES for path in ROOT.glob(pattern))
    linked = {target for page in pages for target in _linked(page)} - {*pages, STYLE}
    for path in [*pages, STYLE]:
        files.append(_file(File, path, config, _place(path)))
    for path in sorted(linked):
        if Path(path).suffix in COPIED:
            files.append(_file(File, path, config))
        else:
            source = _file(SourcePage, path, config, f"source/{path}/index.html")
            source.inclusion = InclusionLevel.NOT_IN_NAV
            files.append(source)
    return files


def on_page_markdown(markdown: str, page: Page, files: Files, **_others: object) -> str:
    """Return the Markdown of a repository's page, adapted to the site.

    Pictures in HTML get their addresses in the site. Info strings lose the notes for the tests.
    Diagrams are shown as source, because Material would load Mermaid from the internet.
    """
    if isinstance(page.file, SourcePage):
        return markdown
    folder = posixpath.dirname(page.file.src_uri)

    def at_its_place(found: re.Match[str]) -> str:
        picture = files.get_file_from_path(posixpath.normpath(posixpath.join(folder, found[2])))
        if picture is None:
            log.warning("%s shows %s, which does not exist", page.file.src_uri, found[2])
            return found[0]
        return f'{found[1]}{picture.url_relative_to(page.file)}"'

    markdown = PICTURE.sub(at_its_place, markdown)
    markdown = INFO.sub(lambda m: f"{m[1]}```{m[2]} {m[3] or ''}".rstrip(), markdown)
    return markdown.replace("```mermaid\n", '```text title="diagram, in Mermaid\'s language"\n')


def _linked(page: str) -> set[str]:
    """Return the paths of the files that a page links."""
    text = FENCE.sub("", (ROOT / page).read_text())
    names = {*LINK.findall(text), *(name for _, name in PICTURE.findall(text))}
    targets = {((ROOT / page).parent / name).resolve() for name in names}
    return {
        str(target.relative_to(ROOT))
        for target in targets
        if target.is_file() and target.is_relative_to(ROOT)
    }


def _place(page: str) -> str | None:
    """Return the path of a page in the site; None to follow MkDocs' own rule."""
    return {START: "index.html", "README.md": "readme/index.html"}.get(page)


def _file(kind: type[File], path: str, config: MkDocsConfig, place: str | None = None) -> File:
    return kind(path, str(ROOT), config.site_dir, config.use_directory_urls, dest_uri=place)
