"""`python -m loadtest compare`: compares results side by side, as Markdown and JSON."""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from loadtest.report_file import ReportError
from loadtest.reports import collection
from loadtest.reports.comparison import (
    ANSWERS,
    COMPARED,
    Comparison,
    Match,
    NotComparable,
    Ratio,
    compare,
)
from loadtest.reports.configurations import Subject
from loadtest.reports.measures import MEASURES
from loadtest.reports.pages.markdown_page import cell, table
from loadtest.reports.paired import PairedAnswers
from loadtest.reports.sides import Side, split
from loadtest.settings.config import UsageError
from loadtest.settings.parser import Parser
from training import storage
from training.evaluation.significance import LEVEL, pairs_needed
from training.evaluation.significance import text as p_text

_DESCRIPTION = """\
Compare results: ratios of every other side to the first one, repeat by repeat, with their range.

A side is a report.json, a folder that holds one, or a folder of such folders; repeats of the same
configuration are paired. With --by, all results are merged and split into one side for each value
of a property: `compare results/matrix --by precision`.

A verdict, "better" or "worse", is an exact permutation test of all pairs, corrected for the number
of figures in the comparison (Holm). Few pairs cannot give one: a single figure needs 6 pairs, and
the page says how many its figures need. --figure compares fewer figures.
"""
_KEY = (
    "Figures are medians of the repeats. Ratio: other over first, median of the pairs and their "
    "range; n: pairs. p: exact permutation test of the pairs' logarithms, two-sided (of the same "
    "images: McNemar's exact test), corrected by Holm's method for the {tests} of this page. "
    f"A verdict needs p below {LEVEL:g}. n pairs give no p below 2 / 2^n before the correction, so "
    "a verdict here needs at least {needed} pairs.{fewer} Top-1 is compared by 95 % intervals."
)


def main(arguments: Sequence[str]) -> int:
    """Run the command line.

    Returns:
        Exit code: always 0.

    Raises:
        UsageError: A file cannot be read, or the results cannot be compared.
        StorageError: The comparison cannot be written.
    """
    values = _parser().parse_args(arguments)
    try:
        sides = _sides(values.sides, values.by)
        figures = values.figure or (*COMPARED, ANSWERS)
        comparison = compare(sides, anyway=values.anyway, figures=figures)
    except (ReportError, NotComparable) as error:
        raise UsageError(str(error)) from error
    page = markdown(comparison)
    document = comparison.as_dict()
    if values.output_dir is not None:
        text = json.dumps(document, indent=1, ensure_ascii=False) + "\n"
        with storage.folder(values.output_dir):
            storage.write_all(
                {
                    values.output_dir / "comparison.md": page.encode(),
                    values.output_dir / "comparison.json": text.encode(),
                }
            )
    sys.stdout.write(page)
    if values.json:
        sys.stdout.write(json.dumps(document, ensure_ascii=False) + "\n")
    return 0


def markdown(comparison: Comparison) -> str:
    """Return a comparison as a Markdown page."""
    first = comparison.sides[0]
    several = len(comparison.sides) > 2
    heads = ["configuration", "figure", first, "other", "ratio", "range", "n", "p", "verdict"]
    rows = [
        [title if number == 0 else "", *row]
        for match in comparison.matches
        for title in [_title(match, several=several)]
        for number, row in enumerate(_rows(match, comparison.pairs_needed))
    ]
    sections = [
        f"# {cell(first)} against {cell(', '.join(comparison.sides[1:]))}",
        *_list("Not equal", comparison.notes),
        table(heads, rows),
        _key(comparison),
        *_list("INVALID", _invalid(comparison.matches)),
        *_list("Not compared", _not_compared(comparison.matches)),
        *_list("Only on one side", comparison.unmatched),
    ]
    return "\n\n".join(sections) + "\n"


def _key(comparison: Comparison) -> str:
    tests, needed = comparison.tests, comparison.pairs_needed
    fewest = pairs_needed(1)
    fewer = f" Fewer figures (--figure) need fewer pairs, a single one {fewest}."
    return _KEY.format(
        tests="one test" if tests == 1 else f"{tests:,} tests",
        needed=needed,
        fewer=fewer if needed > fewest else "",
    )


def _invalid(matches: Sequence[Match]) -> list[str]:
    """Return why the figures of sides may not be quoted, repeat by repeat."""
    return [
        f"{side}, {match.what}, {text}"
        for match in matches
        for side, texts in match.invalid.items()
        for text in texts
    ]


def _not_compared(matches: Sequence[Match]) -> list[str]:
    return [f"{match.what}, {text}" for match in matches for text in match.not_compared]


def _sides(paths: Sequence[Path], by: str | None) -> list[Side]:
    collections = [collection.read(path) for path in paths]
    if by is not None:
        sides = split([result for one in collections for result in one.results], by)
        if len(sides) < 2:
            msg = f"--by {by}: all results have {by} {sides[0].name}, expected at least two"
            raise UsageError(msg)
        return sides
    if len(collections) < 2:
        msg = "one result received, expected two or more, or --by to split one"
        raise UsageError(msg)
    names = [one.name for one in collections]
    if len(set(names)) < len(names):
        names = [str(path) for path in paths]
    return [Side(name, one.results) for name, one in zip(names, collections, strict=True)]


def _title(match: Match, *, several: bool) -> str:
    text = f"{match.side}: {match.what}" if several else match.what
    if not match.invalid:
        return text
    return f"{text} (INVALID: {', '.join(match.invalid)}; reasons below)"


def _rows(match: Match, needed: int) -> list[list[str]]:
    rows = [_row(ratio, needed) for ratio in match.ratios]
    if match.top1_percent is not None:
        first, other = match.top1_percent
        verdict = "intervals overlap" if match.top1_overlap else "intervals apart"
        points = f"{other - first:+.2f} points"
        rows.append(["top-1 (%)", f"{first:.2f}", f"{other:.2f}", points, "", "", "", verdict])
    if match.paired is not None:
        rows.append(_paired_row(match.paired))
    return rows


def _paired_row(paired: PairedAnswers) -> list[str]:
    difference = paired.difference
    low, high = (100 * bound for bound in difference.interval_95)
    return [
        f"the same images, {100 * paired.same / paired.images:.2f} % same class",
        *(f"{difference.only_second:,} right alone", f"{difference.only_first:,} right alone"),
        *(f"{100 * difference.difference:+.2f} points", f"{low:+.2f} to {high:+.2f}"),
        *(f"{paired.images:,} images", p_text(paired.p_holm), _verdict_text(paired.verdict)),
    ]


def _verdict_text(verdict: str) -> str:
    return f"**{verdict}**" if verdict in {"better", "worse"} else verdict


def _row(ratio: Ratio, needed: int) -> list[str]:
    measure, spread = MEASURES[ratio.measure], ratio.ratio
    verdict = _verdict_text(ratio.verdict)
    return [
        measure.title,
        measure.text(ratio.first.median),
        measure.text(ratio.other.median),
        f"{spread.median:.3f}",
        f"{spread.low:.3f} to {spread.high:.3f}" if spread.n > 1 else "",
        str(spread.n),
        p_text(ratio.p_holm),
        f"{verdict}, {needed} needed" if ratio.verdict == "too few pairs" else verdict,
    ]


def _list(title: str, items: Sequence[str]) -> list[str]:
    if not items:
        return []
    return [f"## {title}", "\n".join(f"- {cell(item)}" for item in items)]


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python -m loadtest compare",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("sides", nargs="+", type=Path, metavar="RESULT", help="report.json, or a folder")
    add(
        "--by",
        choices=[field.name for field in fields(Subject)],
        help="split the results into one side for each value of this property",
    )
    add(
        "--figure",
        action="append",
        choices=[*COMPARED, ANSWERS],
        help="compare this figure only; may be repeated. The fewer, the fewer repeats a verdict "
        "needs (default: all)",
    )
    add("--anyway", action="store_true", help="compare even if loads or images differ")
    add("--output-dir", type=Path, help="folder for comparison.md and comparison.json")
    add("--json", action="store_true", help="end with the comparison as one line of JSON")
    return parser
