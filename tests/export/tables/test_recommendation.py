from dataclasses import replace
from pathlib import Path

from export.tables import recommendation
from export.tables.variant_figures import BatchSpeed, VariantFigures


def speed(rows: int, ms: float) -> BatchSpeed:
    return BatchSpeed(
        rows=rows,
        ms=ms,
        images_per_second=1e3 * rows / ms,
        cpu_ms=2 * ms / rows,
        to_tensorflow=None,
    )


SMALL = VariantFigures(
    model="small",
    version=Path("models/small/1"),
    precision="int8",
    parameters=100,
    bytes=130_000,
    n=10_000,
    top1=0.82,
    top1_interval=(0.81, 0.83),
    agreement=0.99,
    held_out=0.81,
    speeds={1: speed(1, 0.1), 32: speed(32, 2.0)},
    measured_on=("Some CPU", 2, 1),
    jpeg=None,
    jpeg_interval=None,
)
LARGE = replace(
    SMALL,
    model="large",
    precision="w8",
    bytes=26_000_000,
    top1=0.93,
    top1_interval=(0.925, 0.935),
    held_out=0.94,
    speeds={1: speed(1, 4.0), 32: speed(32, 40.0)},
)


def test_a_sentence_for_each_constraint():
    """Four sentences compare the best variants of both models; the fifth has accuracy's price."""
    accuracy, latency, throughput, size, price = recommendation.sentences([SMALL, LARGE])

    assert accuracy == (
        "**Highest accuracy on held-out images:** `large` w8, 93.00 % of the test images "
        "(+11.00 points against `small` int8)."
    )
    assert latency == (
        "**Lowest latency:** `small` int8, 0.1 ms for a single image (`large` w8: 4 ms)."
    )
    assert throughput == (
        "**Highest throughput:** `small` int8, 16,000 images/s in batches of 32 "
        "(`large` w8: 800 in batches of 32)."
    )
    assert size == "**Smallest file:** `small` int8, 0.13 MB (`large` w8: 26.00 MB)."
    assert price == (
        "**The price of accuracy:** 11.00 points more cost `large` w8 20 times the CPU time of "
        "`small` int8 (2.5 against 0.125 ms an image, batches of 32)."
    )


def test_models_are_compared_by_their_best_variants():
    """A slower, larger and less accurate variant of a model changes no sentence."""
    worse = replace(SMALL, precision="fp32", bytes=500_000, held_out=0.8, speeds={1: speed(1, 0.2)})

    assert recommendation.sentences([worse, SMALL, LARGE]) == recommendation.sentences(
        [SMALL, LARGE]
    )


def test_test_images_choose_nothing():
    """Of two variants the one with more right held-out images is named, whatever the test gives.

    The difference on the test images is stated, here a negative one.
    """
    lucky = replace(LARGE, top1=0.5, top1_interval=(0.49, 0.51))

    accuracy = recommendation.sentences([SMALL, lucky])[0]

    assert "`large` w8, 50.00 % of the test images" in accuracy
    assert "(-32.00 points against `small` int8" in accuracy


def test_variants_without_held_out_images_are_not_ranked():
    """Without an accuracy on held-out images there is no sentence about accuracy and its price."""
    unjudged = [replace(variant, held_out=None) for variant in (SMALL, LARGE)]

    told = recommendation.sentences(unjudged)

    assert [text.split(":")[0] for text in told] == [
        "**Lowest latency",
        "**Highest throughput",
        "**Smallest file",
    ]


def test_an_uncertain_lead_is_called_that():
    """If the intervals overlap, the sentence says that the lead is uncertain."""
    close = replace(LARGE, top1=0.825, top1_interval=(0.815, 0.835))

    text = recommendation.sentences([SMALL, close])[0]

    assert text.endswith(
        "(+0.50 points against `small` int8, less than the test images can tell for sure)."
    )


def test_speeds_of_different_machines_are_not_compared():
    """Speeds from different machines give no latency and no price, and a note of the reason."""
    elsewhere = replace(LARGE, measured_on=("Other CPU", 64, 1))

    text = "\n".join(recommendation.sentences([SMALL, elsewhere]))

    assert "measured on different machines" in text
    assert "latency" not in text
    assert "price" not in text
    assert "**Smallest file:**" in text


def test_what_is_unknown_is_left_out():
    """Without a benchmark there is no sentence on speed, without figures no sentence at all."""
    untimed = [replace(v, speeds={}, measured_on=None) for v in (SMALL, LARGE)]
    unknown = [replace(v, top1=None, top1_interval=None, bytes=None) for v in untimed]

    assert [s.split(":")[0] for s in recommendation.sentences(untimed)] == [
        "**Highest accuracy on held-out images",
        "**Smallest file",
    ]
    assert recommendation.sentences(unknown) == []


def test_one_variant_leaves_no_choice():
    """One variant gives no sentence; two of one model give sentences without another model."""
    fp32 = replace(SMALL, precision="fp32", top1=0.83, held_out=0.85, bytes=500_000)

    assert recommendation.sentences([SMALL]) == []
    assert recommendation.sentences([SMALL, fp32])[0] == (
        "**Highest accuracy on held-out images:** `small` fp32, 83.00 % of the test images."
    )
