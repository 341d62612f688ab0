import numpy as np
import pytest

from training.evaluation import predictions


@pytest.mark.parametrize(("count", "form"), [(10, "093"), (11, [0, 9, 3])])
def test_both_forms_are_read_back(count, form):
    """Classes are encoded as digits for up to ten classes and as a list for more; both decode."""
    classes = np.array([0, 9, 3])

    assert predictions.encode(classes, count) == form
    np.testing.assert_array_equal(predictions.decode(form), classes)
