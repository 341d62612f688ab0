import pytest

from training.report.sections import run_section


@pytest.mark.parametrize(
    ("settings", "is_harder", "is_mixed"),
    [({}, False, False), ({"cutout": 8}, True, False), ({"mixup": 0.2}, True, True)],
)
def test_curves_are_explained_by_the_augmentation(settings, is_harder, is_mixed):
    """The text says that augmentation makes training images harder, and what mixup counts."""
    text = run_section._how_to_read(settings)

    assert ("Only training images are augmented" in text) == is_harder
    assert ("the class with the larger share" in text) == is_mixed
