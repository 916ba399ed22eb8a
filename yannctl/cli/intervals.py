"""Confidence intervals as reports state them."""

import numpy as np

NORMAL_95 = 1.96  # quantile of the two-sided 95 % interval


def mean_interval(difference: np.ndarray) -> tuple[float, float, float]:
    """Mean of paired differences with its 95 % confidence interval, m ± 1.96 s/√n.

    Args:
        difference: paired differences, shape (n,).

    Returns:
        Mean, lower and upper end.
    """
    mean = float(difference.mean())
    half = NORMAL_95 * float(difference.std(ddof=1)) / np.sqrt(len(difference))
    return mean, mean - half, mean + half
