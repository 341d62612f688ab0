import numpy as np
import pytest

from export.errors import GateFailed
from export.gates import parity
from export.gates.answers import Answers

N = 6


def logits_of(n=N):
    """Return logits in which image i has 3 at class i and at most 2 elsewhere."""
    logits = np.random.default_rng(0).uniform(-2, 2, (n, 10)).astype(np.float32)
    logits[np.arange(n), np.arange(n)] = 3
    return logits


def answers(logits, source="Keras"):
    """Return the answers of an artefact with these logits."""
    wide = np.exp(logits.astype(np.float64))
    probabilities = (wide / wide.sum(axis=1, keepdims=True)).astype(np.float32)
    return Answers(
        source=source, logits=logits, probabilities=probabilities, classes=logits.argmax(axis=1)
    )


def altered(row, column, delta):
    logits = logits_of()
    logits[row, column] += delta
    return answers(logits, "ONNX")


def test_equal_answers_pass():
    """Identical answers have no delta and use none of the tolerance."""
    pair = parity.compare(answers(logits_of()), answers(logits_of(), "ONNX"))

    assert pair.passed
    assert (pair.reference, pair.candidate) == ("Keras", "ONNX")
    assert pair.images == pair.same_class == N
    assert pair.max_abs_delta == pair.max_rel_delta == pair.tolerance_used == 0


@pytest.mark.parametrize(("delta", "passed"), [(2.9e-4, True), (3.3e-4, False)])
def test_tolerance_is_that_of_allclose(delta, passed):
    """A logit of 3 may be off by 1e-5 + 1e-4 * 3 = 3.1e-4, in agreement with numpy.allclose."""
    reference, candidate = answers(logits_of()), altered(2, 2, delta)

    pair = parity.compare(reference, candidate)

    allclose = np.allclose(candidate.logits, reference.logits, rtol=1e-4, atol=1e-5)
    assert pair.passed == passed == allclose
    assert pair.outside_tolerance == (not passed)
    assert pair.tolerance_used == pytest.approx(delta / 3.1e-4, rel=1e-2)
    assert pair.max_abs_delta == pytest.approx(delta, rel=1e-2)
    assert pair.max_rel_delta == pytest.approx(delta / 3, rel=1e-2)


def test_worst_images_come_first():
    """The report lists failed images by the size of their difference."""
    logits = logits_of()
    logits[4, 0] += 0.5
    logits[1, 0] += 0.1

    pair = parity.compare(answers(logits_of()), answers(logits, "ONNX"))

    assert pair.outside_tolerance == 2
    assert pair.worst_images == (4, 1)


def test_wrong_class_fails_although_logits_agree():
    """Served classes are compared directly, so wrong ones fail even with equal logits."""
    right = answers(logits_of())
    wrong = Answers(
        source="ONNX",
        logits=right.logits,
        probabilities=right.probabilities,
        classes=(right.classes + 1) % 10,
    )

    pair = parity.compare(right, wrong)

    assert not pair.passed
    assert (pair.outside_tolerance, pair.class_differs, pair.same_class) == (0, N, 0)


def test_wrong_probabilities_fail_although_logits_agree():
    """Served probabilities are compared directly, so wrong ones fail even with equal logits."""
    right = answers(logits_of())
    wrong = Answers(
        source="ONNX",
        logits=right.logits,
        probabilities=right.probabilities[:, ::-1],
        classes=right.classes,
    )

    pair = parity.compare(right, wrong)

    assert not pair.passed
    assert pair.outside_tolerance == N
    assert pair.max_abs_delta == 0 < pair.max_abs_delta_probabilities


def test_ties_are_counted_and_not_failed():
    """If two top logits 5e-5 apart swap, the image counts as a tie, not as a failure."""
    one, other = logits_of(), logits_of()
    one[3, 7], other[3, 7] = 2.99995, 3.00005

    pair = parity.compare(answers(one), answers(other, "ONNX"))

    assert pair.passed
    assert (pair.ties, pair.same_class, pair.class_differs) == (1, N - 1, 0)


def test_margin_just_above_a_tie_counts():
    """If two top logits 2e-4 apart swap, the image fails, although it is within the tolerance."""
    one, other = logits_of(), logits_of()
    one[3, 7], other[3, 7] = 2.9998, 3.0001

    pair = parity.compare(answers(one), answers(other, "ONNX"))

    assert not pair.passed
    assert (pair.ties, pair.class_differs, pair.outside_tolerance) == (0, 1, 0)


def test_nan_fails():
    """NaN fails the gate, even if both artefacts answer it."""
    logits = logits_of()
    logits[0, 0] = np.nan

    pair = parity.compare(answers(logits), answers(logits, "ONNX"))

    assert not pair.passed
    assert pair.outside_tolerance == 1


def test_infinite_logits_fail():
    """Infinity less infinity is no number: it is no agreement either."""
    logits = logits_of()
    logits[0, 0] = np.inf
    infinite = Answers(
        source="ONNX",
        logits=logits,
        probabilities=answers(logits_of()).probabilities,
        classes=logits.argmax(axis=1),
    )

    with np.errstate(invalid="ignore"):
        pair = parity.compare(infinite, infinite)

    assert not pair.passed
    assert (pair.outside_tolerance, pair.worst_images) == (1, (0,))


def test_relative_deltas_are_those_of_logits_that_are_not_small():
    """Near 0 the absolute tolerance counts: 1e-6 beside 1e-5 is 10 % and says nothing."""
    one, other = logits_of(), logits_of()
    one[1, 5], other[1, 5] = 1e-5, 1.1e-5

    pair = parity.compare(answers(one), answers(other, "ONNX"))

    assert pair.max_rel_delta == 0 < pair.max_abs_delta


def test_metrics_say_all_of_a_pair_but_its_images():
    """A published pair has no worst images."""
    three = [answers(logits_of(), source) for source in ("Keras", "SavedModel", "ONNX")]

    assert [pair.as_dict() for pair in parity.check(three)] == [
        {
            "reference": reference,
            "candidate": candidate,
            "images": N,
            "max_abs_delta": 0,
            "max_rel_delta": 0,
            "tolerance_used": 0,
            "max_abs_delta_probabilities": 0,
            "outside_tolerance": 0,
            "ties": 0,
            "same_class": N,
            "class_differs": 0,
        }
        for reference, candidate in (
            ("Keras", "SavedModel"),
            ("Keras", "ONNX"),
            ("SavedModel", "ONNX"),
        )
    ]


def test_check_reports_the_pairs_that_differ():
    """The report has the pairs, counts, deltas, the worst image's logits and the way out."""
    keras, saved_model = answers(logits_of()), answers(logits_of(), "SavedModel")

    with pytest.raises(GateFailed) as failure:
        parity.check([keras, saved_model, altered(2, 5, 0.25)])

    report = str(failure.value)
    assert [line for line in report.splitlines() if not line.startswith("  ")] == [
        "parity gate: ONNX differs from Keras",
        "parity gate: ONNX differs from SavedModel",
    ]
    assert "1 of 6 images" in report
    assert "0.25 absolute" in report
    worst = [line for line in report.splitlines() if line.startswith("        2  ")]
    assert [line.split()[1] for line in worst] == ["Keras", "ONNX", "SavedModel", "ONNX"]
    assert f"{logits_of()[2, 5]:.6g}" in worst[0].split()
    assert f"{logits_of()[2, 5] + 0.25:.6g}" in worst[1].split()
    assert "conversion to ONNX is at fault" in report
    assert "nothing was published" in report


def test_check_blames_the_saved_model():
    """If only Keras differs, the report says that writing the SavedModel is at fault."""
    saved_model = altered(2, 5, 0.25)
    onnx = Answers(**{**vars(saved_model), "source": "ONNX"})
    saved_model = Answers(**{**vars(saved_model), "source": "SavedModel"})

    with pytest.raises(GateFailed, match="writing the SavedModel is at fault"):
        parity.check([answers(logits_of()), saved_model, onnx])


def test_check_returns_all_pairs():
    """`check` returns the three pairs of three artefacts."""
    three = [answers(logits_of(), source) for source in ("Keras", "SavedModel", "ONNX")]

    assert len(parity.check(three)) == 3
