"""`python -m loadtest readme`: the performance tables of README and documentation, and a figure.

The command reads docs/results/loadtest.json, a digest of the report of `make loadtest` or
`make loadtest-full`. It writes a short table and a figure for the README, and a table of all loads
for docs/performance.md. With `--check` it only compares tables and figure with the digest. It
measures nothing.
"""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from loadtest.report_file import ReportError
from loadtest.reports import collection
from loadtest.reports.configurations import CAPACITY
from loadtest.reports.pages.markdown_page import table
from loadtest.reports.readme.caption import caption, left_out_text, missing_note
from loadtest.reports.readme.figures import Digest, Number, QuotedLoad, QuotedRow, digest
from loadtest.reports.readme.plot import figure
from loadtest.settings.config import UsageError
from loadtest.settings.parser import Parser
from training import schemas, storage
from training.pages.rendering import standalone_svg

README = Path("README.md")
DETAILS = Path("docs/performance.md")
DIGEST = Path("docs/results/loadtest.json")
BEGIN = "<!-- Written by `make readme` from docs/results/loadtest.json; do not edit. -->"
END = "<!-- End of what `make readme` writes. -->"
# The section of the second page that holds the table of all loads.
_ANCHOR = "the-load-test-of-the-bundled-models"
_NONE = "-"
_MISSING = "n/a"
_SHORT_HEADS = ("model", "accuracy", "p50 / p99", "images/s")
_SHORT_KINDS = ("single-stream", "offline")
_KINDS = ("single-stream", "multi-stream", "users", CAPACITY, "offline")
_HEADS = (
    "model",
    "top-1 over gRPC (95 % interval)",
    "one caller: p50 / p99",
    "one caller, batches: p50 / p99",
    "callers at once: p50 / p99",
    "most Poisson arrivals",
    "in batches",
)


def main(arguments: Sequence[str]) -> int:
    """Run the command line.

    Returns:
        Exit code: 0.

    Raises:
        UsageError: A file cannot be read, a page has no place for its table, or, with --check, a
            table or the figure differs from the digest.
    """
    values = _parser().parse_args(arguments)
    picture = values.digest.with_suffix(".svg")
    new = {} if values.report is None else {values.digest: _digest_of(values.report)}
    try:
        pages = {file: file.read_text(encoding="utf-8") for file in (values.readme, values.details)}
        old = pages | {file: _existing(file) for file in (values.digest, picture)}
    except (OSError, ValueError) as error:
        msg = f"cannot write the table: {error}"
        raise UsageError(msg) from error
    new.setdefault(values.digest, old[values.digest])
    document = _read_digest(values.digest, new[values.digest])
    folder = values.readme.parent
    short = render_short(document, _relative(picture, folder), _relative(values.details, folder))
    blocks = {values.readme: short, values.details: render(document)}
    new |= {file: replaced(pages[file], block, file) for file, block in blocks.items()}
    drawn = figure(document)
    if drawn.drawing is None:
        msg = f"nothing to quote: {drawn.caption} The report says why its runs are INVALID"
        raise UsageError(msg)
    new[picture] = standalone_svg(drawn)
    changed = [file for file in new if new[file] != old[file]]
    if values.check and changed:
        msg = f"{changed[0]} does not say what {values.digest} does; run `make readme`"
        raise UsageError(msg)
    with storage.folder(values.digest.parent):
        storage.write_all({file: new[file].encode() for file in changed})
    return 0


def _existing(file: Path) -> str:
    return file.read_text(encoding="utf-8") if file.is_file() else ""


def _digest_of(report: Path) -> str:
    """Return the digest of a report as JSON.

    Raises:
        UsageError: The report cannot be read.
    """
    try:
        document = digest(collection.read(report))
    except ReportError as error:
        raise UsageError(str(error)) from error
    return msgspec.json.format(msgspec.json.encode(document), indent=1).decode() + "\n"


def _read_digest(file: Path, text: str) -> Digest:
    """Return the digest that a file has, or will have.

    Raises:
        UsageError: It is no digest, or one of a newer program.
    """
    try:
        document = msgspec.json.decode(text, type=Digest)
        schemas.DIGEST.check(document.schema_version, file)
    except schemas.SchemaError as error:
        raise UsageError(str(error)) from error
    except msgspec.DecodeError as error:
        msg = (
            f"{file} is no digest of a report: {' '.join(str(error).split())}; "
            "write it again with --report"
        )
        raise UsageError(msg) from error
    return document


def _relative(file: Path, folder: Path) -> str:
    """Return the path of a file as a page in the folder links to it."""
    return Path(os.path.relpath(file, folder)).as_posix()


def replaced(page: str, block: str, path: Path) -> str:
    """Return the page with `block` between its two marks.

    Raises:
        UsageError: The page does not have each mark once.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end or BEGIN in rest or END in after:
        msg = f"{path} needs these two lines, once each: {BEGIN} and {END}"
        raise UsageError(msg)
    return f"{before}{BEGIN}\n\n{block}\n\n{END}{after}"


def render_short(document: Digest, picture: str, details: str) -> str:
    """Return the README's table, the figure beside it, and the conditions below it.

    Args:
        document: The digest.
        picture: Path of the figure, relative to the page.
        details: Path of the page with the table of all loads, relative to the page.
    """
    image = f'<img align="right" width="340" alt="{figure(document).title}" src="{picture}">'
    rows = [_short_row(row) for row in document.rows]
    below = [
        _meanings(document),
        _legend(document, _SHORT_KINDS, rows),
        caption(document, _SHORT_KINDS),
        f"[All loads]({details}#{_ANCHOR}).",
    ]
    return f"{image}\n\n{table(_SHORT_HEADS, rows)}\n\n{' '.join(filter(None, below))}"


def _short_row(row: QuotedRow) -> list[str]:
    one, batches = row.loads.get("single-stream"), row.loads.get("offline")
    top1 = row.top1
    return [
        f"{row.model}, {row.precision}",
        _MISSING if top1 is None else f"{100 * top1.top1:.2f} %",
        f"{_text(one.p50_ms)} / {_text(one.p99_ms)} ms" if one and one.p50_ms else _absent(one),
        _text(batches.images_per_second)
        if batches and batches.images_per_second
        else _absent(batches),
    ]


def _meanings(document: Digest) -> str:
    """Return what the columns of the README's table show, in sentences."""
    one = [load for row in document.rows if (load := row.loads.get("single-stream"))]
    batches = [load for row in document.rows if (load := row.loads.get("offline"))]
    images = {top1.distinct_images for row in document.rows if (top1 := row.top1) is not None}
    sizes = {load.load.partition("batch ")[2] or "1" for load in batches}
    callers = _counts({load.requests for load in one})
    sent = _counts({load.images for load in batches})
    size = " or ".join(sorted(sizes))
    return " ".join(
        [
            f"Accuracy: top-1 on {_counts(images)} CIFAR-10 test images, from the timed responses.",
            f"p50 / p99: latency of one caller that sends one image after another (n = {callers}).",
            f"Images/s: batches of {size} (n = {sent}).",
        ]
    )


def _legend(document: Digest, kinds: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return what cells without a figure mean; empty if there are none."""
    not_measured = f"{_NONE}: not measured." if any(_NONE in row for row in rows) else ""
    return " ".join(filter(None, [not_measured, missing_note(document, kinds)]))


def _counts(values: set[int]) -> str:
    """Return a count, or the range of several."""
    low, high = min(values, default=0), max(values, default=0)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def render(document: Digest) -> str:
    """Return the table of all loads and the caption below it."""
    rows = [_row(row) for row in document.rows]
    below = [_legend(document, _KINDS, rows), caption(document, _KINDS)]
    return f"{table(_HEADS, rows)}\n\n{' '.join(filter(None, below))}"


def _row(row: QuotedRow) -> list[str]:
    loads = row.loads
    provider = row.provider.removesuffix("ExecutionProvider")
    return [
        f"{row.model}, {row.precision}, {provider}",
        _top1(row),
        _latency(loads.get("single-stream")),
        _latency(loads.get("multi-stream")),
        _callers(loads.get("users")),
        _rate(loads.get(CAPACITY)),
        _throughput(loads.get("offline")),
    ]


def _top1(row: QuotedRow) -> str:
    top1 = row.top1
    if top1 is None:
        return _MISSING
    bounds = f"{100 * top1.low:.2f} to {100 * top1.high:.2f}"
    return f"{100 * top1.top1:.2f} % ({bounds}), n = {top1.distinct_images:,}"


def _latency(load: QuotedLoad | None) -> str:
    if load is None or load.p50_ms is None:
        return _absent(load)
    values = " / ".join(_text(number) for number in (load.p50_ms, load.p99_ms))
    batch = load.load.partition("batch ")[2]
    return _quoted(load, f"of {batch}: {values} ms" if batch else f"{values} ms")


def _callers(load: QuotedLoad | None) -> str:
    if load is None or load.p50_ms is None:
        return _absent(load)
    values = " / ".join(_text(number) for number in (load.p50_ms, load.p99_ms))
    speed = _text(load.images_per_second)
    return _quoted(load, f"{load.load.removeprefix('users ')}: {values} ms, {speed} images/s")


def _rate(load: QuotedLoad | None) -> str:
    if load is None or load.capacity_per_second is None:
        return _absent(load)
    bound = load.load.partition(", ")[2]
    label = f", {load.duration}" if load.duration else ""
    return _quoted(load, f"{_text(load.capacity_per_second)} requests/s, {bound}{label}")


def _throughput(load: QuotedLoad | None) -> str:
    if load is None or load.images_per_second is None:
        return _absent(load)
    batch = load.load.partition("batch ")[2] or "1"
    text = f"of {batch}: {_text(load.images_per_second)} images/s"
    return _quoted(load, text, images=True)


def _absent(load: QuotedLoad | None) -> str:
    """Return the text for a figure that is not quoted; MLPerf quotes VALID runs only."""
    if load is None:
        return _NONE
    if load.valid_runs:
        return _MISSING
    text = left_out_text(load)
    return text.removeprefix(f"{load.runs} ") if len(load.left_out) == 1 else text


def _quoted(load: QuotedLoad, text: str, *, images: bool = False) -> str:
    runs, valid = load.runs, load.valid_runs
    quoted = f"{text}, n = {load.images if images else load.requests:,}"
    if valid == runs:
        return quoted
    why = f"; {left_out_text(load)}" if load.left_out else ""
    return f"{quoted} ({valid} of {runs} runs counted{why})"


def _text(number: Number | None) -> str:
    """Return a median with three significant digits."""
    if number is None:
        return _MISSING
    median = number.median
    return f"{median:,.0f}" if median >= 100 else f"{median:.3g}"


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m loadtest readme", description=__doc__, allow_abbrev=False)
    add = parser.add_argument
    add("--report", type=Path, metavar="RESULT", help="write the digest from this report first")
    add("--check", action="store_true", help="write nothing; exit code 2 if the table is outdated")
    add("--readme", type=Path, default=README, help="default: %(default)s")
    add("--details", type=Path, default=DETAILS, help="default: %(default)s")
    add("--digest", type=Path, default=DIGEST, help="default: %(default)s")
    return parser
