import pytest
from sample_results import load_reports

from loadtest.reports.comparison import NotComparable, compare
from loadtest.reports.sides import Side, split

# Medians of six repeats, in ms.
SIX = (1.0, 2.0, 4.0, 1.5, 3.0, 2.5)


def side(name: str, *reports, target: str = "cpu") -> Side:
    return Side(name, load_reports.collection(list(reports), target=target).results)


def timed(p50_ms: float, **settings):
    """A run with this median, whatever else."""
    return load_reports.changed(load_reports.report(**settings), {"latency_ms.p50": p50_ms})


def ratio_of(match, measure: str):
    return next(ratio for ratio in match.ratios if ratio.measure == measure)


def test_ratios_are_taken_pair_by_pair():
    """The k-th repeat of one side over the k-th of the other; their median and range."""
    first = side("before", timed(1.0), timed(2.0), timed(4.0))
    other = side("after", timed(1.5), timed(2.4), timed(5.6))

    match = compare([first, other]).matches[0]

    ratio = ratio_of(match, "p50_ms")
    assert (ratio.first.median, ratio.other.median) == (2.0, 2.4)
    assert (ratio.ratio.low, ratio.ratio.median, ratio.ratio.high) == pytest.approx((1.2, 1.4, 1.5))
    assert ratio.p_value == 2 / 8


@pytest.mark.parametrize(
    ("factors", "verdict", "p"),
    [
        pytest.param([0.9, 0.8, 0.9, 0.7, 0.9, 0.9], "better", 2 / 64, id="all-faster"),
        pytest.param([1.1, 1.2, 1.1, 1.3, 1.1, 1.1], "worse", 2 / 64, id="all-slower"),
        pytest.param([0.9, 0.8, 0.9, 0.7, 0.9, 1.1], "not told apart", 4 / 64, id="one-against"),
        pytest.param([0.9, 0.9, 0.9, 0.9, 0.9, 1.0], "not told apart", 4 / 64, id="one-equal"),
        pytest.param([0.0, 0.9, 0.9, 0.9, 0.9, 0.9], "better", 2 / 64, id="one-is-0"),
        pytest.param([0.5, 0.5, 0.5, 0.5, 0.5], "too few pairs", 2 / 32, id="five-pairs"),
        pytest.param([0.5, 0.5, 0.5], "too few pairs", 2 / 8, id="three-pairs"),
    ],
)
def test_a_verdict_needs_six_pairs_and_a_low_p(factors, verdict, p):
    """Three pairs that agree are no verdict: by luck they agree one time in four."""
    after = [before * factor for before, factor in zip(SIX, factors, strict=False)]
    sides = [side("before", *map(timed, SIX)), side("after", *map(timed, after))]

    comparison = compare(sides, figures=["p50_ms"])

    ratio = ratio_of(comparison.matches[0], "p50_ms")
    assert (ratio.p_value, ratio.p_holm) == (p, p)
    assert ratio.verdict == verdict
    assert (comparison.tests, comparison.pairs_needed) == (1, 6)


def test_p_values_are_corrected_for_all_figures_and_configurations():
    """Six pairs that agree in one of many figures are no verdict; among twelve pairs they are."""

    def two_loads(repeats: int, factor: float):
        return [
            timed(factor * (1 + seed / 10), seed=seed, **load)
            for seed in range(repeats)
            for load in ({}, {"kind": "users", "users": 4})
        ]

    six = compare([side("before", *two_loads(6, 1)), side("after", *two_loads(6, 0.5))])
    twelve = compare([side("before", *two_loads(12, 1)), side("after", *two_loads(12, 0.5))])

    few, many = (ratio_of(one.matches[0], "p50_ms") for one in (six, twelve))
    assert six.tests == twelve.tests == sum(len(match.ratios) for match in six.matches) > 8
    assert (few.p_value, few.p_holm) == (2 / 64, pytest.approx(min(1, six.tests * 2 / 64)))
    assert few.verdict == "too few pairs"
    assert few.ratio.n < six.pairs_needed <= many.ratio.n
    assert many.verdict == "better"


def test_a_figure_that_no_side_has_is_refused():
    """With --figure, the figure must have been measured on both sides."""
    sides = [side("before", load_reports.report()), side("after", load_reports.report())]

    with pytest.raises(NotComparable, match="none of capacity_per_second was measured"):
        compare(sides, figures=["capacity_per_second"])


def test_sides_that_did_not_take_turns_are_named():
    """If one side was measured after the other, a slower machine looks like a slower side."""
    first, second, third, fourth = (load_reports.report(seed=seed) for seed in range(4))

    turns = compare([side("a", first, third), side("b", second, fourth)])
    blocks = compare([side("a", first, second), side("b", third, fourth)])

    assert not [note for note in turns.notes if "in turns" in note]
    assert [note for note in blocks.notes if note.startswith("not measured in turns: a and b;")]


def test_invalid_repeats_have_their_reasons():
    """A side with a repeat that is not VALID says which one and why."""
    first = side("a", load_reports.report(), load_reports.report(reasons=("client late", "stall")))

    match = compare([first, side("b", load_reports.report())]).matches[0]

    assert match.invalid == {"a": ["repeat 2 of 2: client late; stall"]}


def test_more_images_a_second_are_better():
    """Throughput counts the other way round than latency."""
    before = [load_reports.report(seed=seed) for seed in range(6)]
    after = [
        load_reports.changed(
            report,
            {"throughput.images_per_second": 1.1 * report.throughput.images_per_second},
        )
        for report in before
    ]

    sides = [side("before", *before), side("after", *after)]
    (match,) = compare(sides, figures=["images_per_second"]).matches

    assert ratio_of(match, "images_per_second").verdict == "better"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        pytest.param({"batch": 8}, "before has batch 1, after 8", id="batch"),
        pytest.param({"kind": "multi-stream"}, "kind single-stream, after multi", id="scenario"),
        pytest.param({"kind": "users", "users": 4}, "users None, after 4", id="users"),
    ],
)
def test_other_loads_are_not_compared_unless_asked(settings, words):
    """The reason names both sides; with --anyway it becomes a note."""
    sides = [side("before", load_reports.report()), side("after", load_reports.report(**settings))]

    with pytest.raises(NotComparable, match=words):
        compare(sides)
    comparison = compare(sides, anyway=True)

    assert len(comparison.matches) == 1
    assert any(note.startswith("NOT COMPARABLE: ") and words in note for note in comparison.notes)


def test_other_images_are_not_compared():
    """Accuracy and latency of other data say nothing about the server."""
    other = load_reports.changed(load_reports.report(), {"manifest.data.sha256": "0" * 64})

    with pytest.raises(NotComparable, match="test images e54a434ec350, after 000000000000"):
        compare([side("before", load_reports.report()), side("after", other)])


def test_what_distinguishes_the_sides_is_what_is_compared():
    """One file of fp32, one of w8, on other ports: matched load by load all the same."""
    loads = ({}, {"kind": "users", "users": 4})
    first = side("a", *(load_reports.report(**load) for load in loads), target="host:1")
    other = side(
        "b", *(load_reports.report(precision="w8", **load) for load in loads), target="host:2"
    )

    matches = compare([first, other]).matches

    assert [match.what for match in matches] == [
        "simcnn fp32 tfs-grpc, SingleStream to simcnn w8 tfs-grpc, SingleStream",
        "simcnn fp32 tfs-grpc, users 4 to simcnn w8 tfs-grpc, users 4",
    ]


def test_what_only_one_side_has_is_named():
    """Nothing is dropped in silence."""
    first = side("before", load_reports.report(), load_reports.report(kind="users", users=4))
    other = side("after", load_reports.report(), load_reports.report(kind="users", users=8))

    comparison = compare([first, other])

    assert len(comparison.matches) == 1
    assert comparison.unmatched == [
        "only in after: simcnn fp32 tfs-grpc, users 8",
        "only in before: simcnn fp32 tfs-grpc, users 4",
    ]


def test_two_baselines_for_one_configuration_are_refused():
    """A side of two precisions cannot be what a third one is compared with."""
    first = side("both", load_reports.report(), load_reports.report(precision="w8"))

    with pytest.raises(NotComparable, match=r"both simcnn fp32 .* and simcnn w8 .*--by"):
        compare([first, side("int8", load_reports.report(precision="int8"))])


def test_a_matrix_is_split_by_a_property():
    """fp32 against w8 of the same file, repeat by repeat."""
    reports = [
        load_reports.report(precision=precision, latency_ms=ms, seed=seed)
        for seed in range(12)
        for precision, ms in (("fp32", 1.0), ("w8", 0.5))
    ]
    results = load_reports.collection(reports).results

    comparison = compare(split(results, "precision"))

    assert comparison.sides == ["fp32", "w8"]
    assert ratio_of(comparison.matches[0], "p50_ms").verdict == "better"


def test_capacities_are_compared_though_their_rates_differ():
    """The rate is the result of find-capacity, not its load; latencies at other rates are not."""
    first = side("a", load_reports.capacity([(100, True, 3), (200, False, 30)]))
    other = side("b", load_reports.capacity([(150, True, 3), (300, False, 30)]))

    match = compare([first, other]).matches[0]

    ratio = ratio_of(match, "capacity_per_second")
    assert ratio.ratio.median == 1.5
    assert "p50_ms" not in {ratio.measure for ratio in match.ratios}


def test_a_figure_that_one_side_lacks_has_its_reason():
    """Goodput without a bound, and a p99 of too few answers, are named with the reason."""
    first, other = load_reports.report(), load_reports.report(n=300, slo_ms=None)

    (match,) = compare([side("a", first), side("b", other)]).matches

    assert {"p99_ms", "goodput_per_second"}.isdisjoint(ratio.measure for ratio in match.ratios)
    assert match.not_compared == [
        "p99 (ms): b: p99 needs 662 answers in a run",
        "goodput (1/s): b: goodput needs a latency bound (--slo-ms)",
    ]


def test_other_bounds_have_no_goodput_in_common():
    """Goodput within 5 ms is no goodput within 15."""
    first, other = load_reports.report(), load_reports.report(slo_ms=5.0)

    comparison = compare([side("a", first), side("b", other)])

    measures = {ratio.measure for ratio in comparison.matches[0].ratios}
    assert "goodput_per_second" not in measures
    assert "latency bound (ms): a 15.0, b 5.0" in comparison.notes
