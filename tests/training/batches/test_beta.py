import numpy as np
import pytest
from scipy import stats

from training.batches import beta
from training.batches.draws import random_bits


@pytest.mark.parametrize("alpha", [0.01, 0.1, 0.2, 0.4, 1.0, 1.5, 2.0, 10.0])
def test_probabilities_equal_those_of_scipy(alpha):
    """The boundaries between samples have the distribution function that SciPy computes."""
    boundaries = (np.arange(beta.STEPS) + 0.5) / beta.STEPS
    expected = stats.beta(alpha, alpha).cdf(boundaries)

    np.testing.assert_allclose(beta._boundaries(alpha), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_samples_have_the_distribution(alpha):
    """Of 100,000 samples as many lie in each twentieth as the distribution says."""
    bits = random_bits(0, 0, np.arange(100_000), 6)
    samples = beta.shares(bits, alpha)

    assert samples.dtype == np.float32
    assert (samples * beta.STEPS == np.round(samples * beta.STEPS)).all()
    edges = np.linspace(0, 1, 21) + 0.5 / beta.STEPS  # between two samples
    edges[0], edges[-1] = -1, 2
    expected = 100_000 * np.diff(stats.beta(alpha, alpha).cdf(edges))
    counts, _ = np.histogram(samples, edges)
    assert (np.abs(counts - expected) < 5 * np.sqrt(expected)).all()


def test_samples_are_the_same_for_ever():
    """Samples equal recorded values, and the smallest and largest bits give 0 and 1.

    Bits exactly on the boundary of two samples, 2**51 of the uniform distribution, give the larger.
    """
    bits = np.array([0, 2**61, 2**63, 2**64 - 2**62, 2**64 - 1], np.uint64)

    assert (beta.shares(bits, 0.2) * beta.STEPS).tolist() == [0, 3, 2048, 3998, 4096]
    assert (beta.shares(bits, 1.0) * beta.STEPS).tolist() == [0, 512, 2048, 3072, 4096]
    assert (beta.shares(np.array([2**51 - 1, 2**51], np.uint64), 1.0) * beta.STEPS).tolist() == [
        0,
        1,
    ]
