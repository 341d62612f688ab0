"""The whole report: its sections in their order."""

from collections.abc import Sequence
from datetime import UTC, datetime

from training.report.pages.blocks import (
    Block,
    Bullets,
    Details,
    Heading,
    Notice,
    Page,
    Paragraph,
    Table,
)
from training.report.sections import comparison, model_section, recommendation, run_section
from training.report.sources import compute
from training.report.sources.candidates import gather, rank
from training.report.sources.evidence import Evidence
from training.report.sources.published import PUBLISHED
from training.report.sources.runs import RunRecord

_ORDER = (
    "Order and recommendations: by the accuracy on training images that the training held out, as "
    "its history records it for the saved weights. With early stopping these images also chose the "
    "epoch, which makes it slightly too high. The seeds of a recipe are averaged. The test images "
    "decide nothing."
)


def build(runs: Sequence[RunRecord], evidence: Evidence) -> Page:
    """Put the report together.

    Args:
        runs: Run folders, at least one of them finished.
        evidence: Data, models and answers that could be loaded.
    """
    finished = sorted((run for run in runs if run.is_finished), key=_rank)
    by_architecture = {name: compute.macs(model) for name, model in evidence.models.items()}
    macs = {
        run.name: by_architecture[run.architecture]
        for run in finished
        if run.architecture in by_architecture
    }
    candidates = gather(finished, macs)
    blocks: list[Block] = [
        *_missing(runs, evidence),
        Heading("Which one to choose"),
        *recommendation.recommend(candidates, evidence.answers),
        *comparison.compare(finished, candidates, evidence.answers),
        *model_section.describe_data(runs, evidence.train),
        *model_section.describe_models(evidence.models),
    ]
    for number, run in enumerate([*finished, *(run for run in runs if not run.is_finished)], 1):
        answers = evidence.answers.get(run.name)
        blocks += run_section.describe(run, f"run{number}", answers, evidence.test)
    blocks += [*_published(finished), *_method(), _digests(runs)]
    now = datetime.now(UTC).isoformat(sep=" ", timespec="minutes").removesuffix("+00:00")
    count = "1 finished run" if len(finished) == 1 else f"{len(finished)} finished runs"
    data = {"CIFAR-10" if run.is_of_reference_data else "picture" for run in runs}
    kinds = " and ".join(sorted(data))
    return Page("Training report", f"{kinds} classifiers, {count}; written {now} UTC.", blocks)


def _rank(run: RunRecord) -> tuple[bool, float, str]:
    return rank(run.held_out.share if run.held_out else None, run.name)


def _missing(runs: Sequence[RunRecord], evidence: Evidence) -> list[Block]:
    sentences = [
        f"{run.name} is unfinished: {len(run.history)} of {run.settings['epochs']} epochs. It is "
        "shown at the end and not compared."
        for run in runs
        if not run.is_finished
    ]
    return [Notice(text) for text in (*sentences, *evidence.missing)]


def _published(runs: Sequence[RunRecord]) -> list[Block]:
    trained = {run.settings["model"] for run in runs if run.is_of_reference_data}
    models = [name for name in PUBLISHED if name in trained]
    if not models:
        return []
    text = (
        "The published figures are those of a course report of spring 2024, which trained both "
        "models on CIFAR-10; the intervals beside them were computed here. Mistakes of its "
        "protocol that matter for a comparison:"
    )
    blocks: list[Block] = [Heading("The published protocol"), Paragraph(text)]
    for model in models:
        blocks += [Heading(PUBLISHED[model].name, level=3), Bullets(PUBLISHED[model].mistakes)]
    return blocks


def _method() -> list[Block]:
    return [
        Heading("How the figures came about"),
        Bullets(
            (
                _ORDER,
                "Test accuracy: every test image once, with the saved model (float32).",
                "Intervals: 95 %, Wilson's for accuracies, Agresti and Min's for pairs.",
                "Pairs: from answers of model.keras, computed anew; McNemar's exact test.",
                "Training time: wall time of all epochs and the final evaluation.",
                "Images/s: training images over the time of the median epoch, without validation.",
            )
        ),
    ]


def _digests(runs: Sequence[RunRecord]) -> Details:
    """Return the digests of the images of each run, which a reader needs only to check them."""
    rows = []
    for run in runs:
        data = (run.metrics or {}).get("data", run.data)
        rows.append(
            (run.name, *(str(data.get(f"{part}_sha256", "unknown")) for part in ("train", "test")))
        )
    heads = ("Run", "Training images", "Test images")
    return Details("Digests (SHA-256)", [Table(heads, rows, text_columns=(0, 1, 2))])
