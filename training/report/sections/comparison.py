"""The comparison of all runs with each other and with the published figures."""

from collections.abc import Mapping, Sequence
from itertools import combinations

from training.evaluation import paired, significance
from training.report import formats
from training.report.pages import figures
from training.report.pages.blocks import (
    Block,
    Bullets,
    Gallery,
    Heading,
    Notice,
    Paragraph,
    Picture,
    Table,
)
from training.report.sources.answers import RunAnswers
from training.report.sources.candidates import Candidate
from training.report.sources.published import PUBLISHED, TEST_SHA256
from training.report.sources.runs import RunRecord

_HEADER = (
    *("Run", "Held-out accuracy", "Test accuracy", "95 % interval", "Training time"),
    *("MACs an image (million)", "Parameters", "Test loss (nats)", "Images/s", "Epochs", "Seed"),
    "Recipe",
)
# The number of pairs of six runs. With more runs, each is compared with the first one.
_MOST_PAIRS = 15


def compare(
    runs: Sequence[RunRecord], candidates: Sequence[Candidate], answers: Mapping[str, RunAnswers]
) -> list[Block]:
    """Return tables and charts of all finished runs.

    Args:
        runs: Finished runs, the most accurate on held-out training images first.
        candidates: The same runs by recipe.
        answers: The known answers, by name of the run.
    """
    return [
        Heading("All runs"),
        _table(runs, candidates),
        *_against_published(runs, candidates),
        _charts(runs),
        *_seeds(candidates),
        *_pairs(runs, answers),
    ]


def _table(runs: Sequence[RunRecord], candidates: Sequence[Candidate]) -> Table:
    macs = {
        run.name: candidate.macs
        for candidate in candidates
        for run in candidate.runs
        if candidate.macs is not None
    }
    rows = [
        (
            run.name,
            formats.percent(run.held_out.share) if run.held_out else "",
            formats.percent(run.result["top1"]),
            formats.interval(run.result["top1_wilson_95"]),
            formats.duration(run.result["wall_seconds"]),
            f"{macs[run.name] / 1e6:,.2f}" if run.name in macs else "unknown",
            f"{run.result['parameters']:,}",
            formats.nats(run.result["loss"]),
            f"{run.result['train_images_per_second']:,.0f}",
            str(run.result["epochs"]),
            str(run.settings["seed"]),
            run.recipe,
        )
        for run in runs
    ]
    for entry in (PUBLISHED[model] for model in _published_models(runs)):
        accuracy = (formats.percent(entry.top1), formats.interval(entry.interval))
        rows.append(
            (
                *(entry.name, "", *accuracy, entry.time, "", ""),
                *(formats.nats(entry.loss), "", str(entry.epochs), "", ""),
            )
        )
    return Table(_HEADER, rows, text_columns=(0, 11))


def _published_models(runs: Sequence[RunRecord]) -> list[str]:
    compared = {run.settings["model"] for run in runs if run.is_of_reference_data}
    return [name for name in PUBLISHED if name in compared]


def _against_published(runs: Sequence[RunRecord], candidates: Sequence[Candidate]) -> list[Block]:
    lines = []
    for candidate in candidates:
        first = candidate.runs[0]
        entry = PUBLISHED.get(first.settings["model"])
        if entry is not None and first.is_of_reference_data:
            gap = 100 * (candidate.top1 - entry.top1)
            mean = f", the mean of {len(candidate.runs)} runs" if len(candidate.runs) > 1 else ""
            lines.append(
                f"{candidate.name}: {formats.percent(candidate.top1)}{mean}, {abs(gap):.2f} points "
                f"{'above' if gap >= 0 else 'below'} the {formats.percent(entry.top1)} of the "
                f"{entry.name}."
            )
    blocks: list[Block] = [Bullets(lines)] if lines else []
    if lines and any(run.data["test_sha256"] != TEST_SHA256 for run in runs):
        text = (
            "Not every run here was measured on the 10,000 test images as they are distributed, "
            "so its accuracy and the published one are not of the same images."
        )
        blocks.append(Notice(text))
    return blocks


def _charts(runs: Sequence[RunRecord]) -> Gallery:
    measured = {run.name: (run.result["top1"], tuple(run.result["top1_wilson_95"])) for run in runs}
    published = {PUBLISHED[model].name: PUBLISHED[model].top1 for model in _published_models(runs)}
    histories = {run.name: run.history for run in runs if run.history}
    pictures = [
        Picture(
            "accuracies",
            figures.accuracies(
                measured,
                published,
                "Test accuracy of each run with its 95 % interval, and published figures",
            ),
        )
    ]
    if len(histories) > 1:
        pictures.append(
            Picture(
                "validation",
                figures.validation_curves(
                    histories, "Validation accuracy of each run over its epochs"
                ),
            )
        )
    return Gallery(pictures)


def _seeds(candidates: Sequence[Candidate]) -> list[Block]:
    blocks: list[Block] = [Heading("Spread between seeds", level=3)]
    repeated = [candidate for candidate in candidates if len(candidate.runs) > 1]
    if not repeated:
        text = (
            "Each recipe was trained once. The intervals above cover the choice of test images, "
            "not the luck of a seed: train with other --seed values to see that spread."
        )
        return [*blocks, Paragraph(text)]
    rows = [
        (
            candidate.name,
            ", ".join(map(str, candidate.seeds)),
            str(len(candidate.runs)),
            formats.percent(candidate.top1),
            f"{100 * (candidate.deviation or 0):.2f}",
            formats.percent(min(candidate.shares)),
            formats.percent(max(candidate.shares)),
            formats.duration(candidate.seconds),
        )
        for candidate in repeated
    ]
    header = (
        *("Recipe", "Seeds", "n", "Mean test accuracy", "Sample standard deviation (points)"),
        *("Lowest", "Highest", "Mean training time"),
    )
    blocks.append(Table(header, rows, text_columns=(0, 1)))
    twice = [
        candidate.name for candidate in repeated if len(set(candidate.seeds)) < len(candidate.seeds)
    ]
    if twice:
        text = (
            f"A seed occurs more than once in {formats.listing(twice)}: those runs are hardly "
            "independent, and the standard deviation is too small."
        )
        blocks.append(Notice(text))
    return blocks


def _pairs(runs: Sequence[RunRecord], answers: Mapping[str, RunAnswers]) -> list[Block]:
    known = [run for run in runs if run.name in answers]
    pairs = [
        (first, second)
        for first, second in combinations(known, 2)
        if first.data["test_sha256"] == second.data["test_sha256"]
    ]
    if not pairs:
        return []
    note = ""
    if len(pairs) > _MOST_PAIRS:
        pairs = [pair for pair in pairs if pair[0] is pairs[0][0]]
        note = f" Of {len(known)} runs, each is compared with {pairs[0][0].name}."
    compared = [
        paired.compare(answers[first.name].right, answers[second.name].right)
        for first, second in pairs
    ]
    corrected = significance.holm([found.p_value for found in compared])
    rows = []
    for (first, second), found, p_holm in zip(pairs, compared, corrected, strict=True):
        low, high = (formats.points(bound) for bound in found.interval_95)
        rows.append(
            (
                first.name,
                second.name,
                formats.points(found.difference),
                f"{low} to {high}",
                f"{found.only_first:,}",
                f"{found.only_second:,}",
                significance.text(found.p_value),
                significance.text(p_holm),
                "yes" if p_holm < significance.LEVEL else "no",
            )
        )
    header = (
        *("First run", "Second run", "Difference (points)", "95 % interval (points)"),
        *("Only first right", "Only second right", "McNemar p", "Corrected p", "Told apart"),
    )
    text = (
        "Two runs on the same images: only images that one of the two gets right count, so these "
        "intervals are narrower than two separate ones. They hold for each pair by itself and "
        "for these trainings, not for other seeds, and decide nothing. p is that of McNemar's "
        f"exact test, corrected by Holm's method for the {len(pairs)} "
        f"pair{'' if len(pairs) == 1 else 's'} of the table. "
        f"Two runs are told apart if the corrected p is below {significance.LEVEL:g}.{note}"
    )
    return [
        Heading("Pairs on the same test images", level=3),
        Paragraph(text),
        Table(header, rows, text_columns=(0, 1)),
    ]
