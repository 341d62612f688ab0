import numpy as np

from training.batches.draws import draw, random_bits
from training.settings.recipes import from_recipe

RECORDED = {
    "top": [4, 2, 6],
    "left": [0, 1, 8],
    "mirrored": [False, True, True],
    "cutout_row": [0, 19, 29],
    "cutout_column": [22, 5, 16],
    "partner": [8024, 13344, 30573],
    "share": [1755 / 4096, 0.0, 1442 / 4096],
    "operations": [[18, 3], [19, 23], [2, 11]],
}


def test_random_bits_are_the_same_for_ever():
    """The random bits equal recorded values; if they changed, old runs could not be repeated."""
    bits = random_bits(7, 3, np.array([0, 1, 49_999]), 2)

    assert [f"{value:016x}" for value in bits] == [
        "8294b6b9374292b0",
        "a5801e47e244e70d",
        "da2c07a1d85ca9de",
    ]


def test_random_bits_are_even_and_independent():
    """Each bit is set half of the time, and neighbouring keys share bits only by chance."""
    indices = np.arange(20_000)
    shifts = np.arange(64, dtype=np.uint64)
    bits = {
        key: (random_bits(*key[:2], indices, key[2])[:, None] >> shifts) & np.uint64(1)
        for key in [(0, 0, 1), (1, 0, 1), (0, 1, 1), (0, 0, 2)]
    }

    # Five standard deviations of the mean of 20,000 coin flips.
    assert np.abs(bits[0, 0, 1].mean(axis=0) - 0.5).max() < 5 * 0.5 / np.sqrt(20_000)
    for key in [(1, 0, 1), (0, 1, 1), (0, 0, 2)]:
        same = (bits[0, 0, 1] == bits[key]).mean(axis=0)
        assert np.abs(same - 0.5).max() < 5 * 0.5 / np.sqrt(20_000)


def test_partners_are_other_images_and_spread_evenly():
    """No image is mixed with itself, and each is the partner of about one image."""
    indices = np.arange(20_000)
    config = from_recipe("simcnn", "best", mixup=1.0)
    draws = draw(indices, config, 0, count=20_000)

    assert (draws.partner != indices).all()
    assert ((draws.partner >= 0) & (draws.partner < 20_000)).all()
    uses = np.bincount(np.bincount(draws.partner, minlength=20_000))
    poisson = 20_000 * np.exp(-1) / np.array([1, 1, 2, 6])
    assert np.abs(uses[:4] - poisson).max() < 5 * np.sqrt(poisson.max())
    assert (draw(indices, config, 1, count=20_000).partner != draws.partner).mean() > 0.99


def test_the_only_image_is_its_own_partner():
    """A training of a single image mixes it with itself."""
    draws = draw(np.array([0]), from_recipe("simcnn", "best", mixup=1.0), 0, count=1)

    assert draws.partner.tolist() == [0]


def test_without_cutout_and_mixup_nothing_is_cut_or_mixed():
    """Without mixup the partner is the image itself, with the share 1."""
    draws = draw(np.arange(5), from_recipe("simcnn", "best"), 0, count=5)

    assert draws.partner.tolist() == [0, 1, 2, 3, 4]
    assert draws.share.tolist() == [1, 1, 1, 1, 1]
    assert draws.cutout_row.tolist() == draws.cutout_column.tolist() == [0, 0, 0, 0, 0]


def test_draws_are_the_same_for_ever():
    """The choices equal recorded values, in which all purposes have a part."""
    config = from_recipe("simcnn", "best", seed=7, cutout=8, mixup=0.2, randaugment=2)
    draws = draw(np.array([0, 1, 44_999]), config, 3, count=45_000)

    assert {name: getattr(draws, name).tolist() for name in draws.__dataclass_fields__} == RECORDED
