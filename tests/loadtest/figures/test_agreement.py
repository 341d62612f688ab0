import numpy as np
import pytest

from loadtest.figures.agreement import Agreement, RecordedClasses, unequal
from loadtest.transports.api import Answer

IDS = np.array([1, 0])


def answer(**outputs: np.ndarray) -> Answer:
    return Answer(np.full(2, -1), 1, "", outputs)


def test_classes_differ_or_not():
    """With recorded classes only the classes count."""
    agreement = Agreement(source="file", classes=RecordedClasses(np.array([4, 5])), tolerance=0)

    assert agreement.differing(Answer(np.array([5, 7]), 1, ""), 0, IDS)[0].tolist() == [False, True]
    assert agreement.rule == "the same class"


def test_values_of_rows_are_found_by_the_row():
    """Recorded outputs are those of the rows sent, in their order; the text has both values."""
    agreement = Agreement(source="file", outputs={"y": np.array([[1.0], [2.0]])}, tolerance=0.001)

    differs, texts = agreement.differing(answer(y=np.array([[2.001], [1.1]])), 0, IDS)

    assert differs.tolist() == [False, True]
    assert texts == {1: 'output "y" [1.1] of shape (2, 1), recorded [1.] of shape (2, 1)'}
    assert "0.001 times" in agreement.rule


def test_the_only_output_needs_no_name():
    """TensorFlow Serving's REST API leaves out the name of the only output."""
    agreement = Agreement(source="file", outputs={"y": np.arange(2)}, tolerance=0)

    assert not agreement.differing(answer(predictions=np.array([1, 0])), 0, IDS)[0].any()


def test_a_missing_output_differs():
    """An answer without a recorded output differs in all rows."""
    agreement = Agreement(
        source="server", queries={7: {"a": np.zeros(2), "b": np.zeros(2)}}, tolerance=0
    )

    differs, texts = agreement.differing(answer(a=np.zeros(2), c=np.zeros(2)), 7, IDS)

    assert differs.tolist() == [True, True]
    assert 'output "b" is missing' in texts[0]


@pytest.mark.parametrize(
    ("answered", "recorded", "expected"),
    [
        pytest.param([1, 2], [1, 3], [False, True], id="integers"),
        pytest.param([b"a", b"\xff"], [b"a", b"\xfe"], [False, True], id="bytes"),
        pytest.param(["a", "b"], [b"a", b"c"], [False, True], id="text-of-json"),
        pytest.param([True, False], [True, True], [False, True], id="booleans"),
        pytest.param([[100.09, 0.09], [1, 0.02]], [[100, 0], [1, 0]], [False, True], id="scale"),
        pytest.param([np.nan, 1.0], [np.nan, np.nan], [False, True], id="nan"),
        pytest.param([np.inf, -np.inf], [np.inf, np.inf], [False, True], id="infinity"),
        pytest.param([1j, 1 + 1j], [1j, 1.1 + 1j], [False, True], id="complex"),
        pytest.param([1.0, 2.0], [1, 2], [False, False], id="float-and-integer"),
        pytest.param([[1, 2]], [[1, 3]], [True, True], id="no-rows"),
        pytest.param([1, 2, 3], [1, 2], [True, True], id="shape"),
        pytest.param(3.5, 3.5, [False, False], id="scalar"),
        pytest.param([[], []], [[], []], [False, False], id="empty"),
    ],
)
def test_values_are_compared_by_their_kind(answered, recorded, expected):
    """Floats may differ by 0.1 % of the largest of their row; all other values must be equal."""
    assert unequal(np.array(answered), np.array(recorded), 2, 0.001).tolist() == expected
