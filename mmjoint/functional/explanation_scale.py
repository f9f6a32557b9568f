"""Names of the maps that explain an image's class, and the range that they are drawn on."""

import numpy as np

EXPLANATIONS = ('saliency', 'class_activation')

EXPLANATION_PERCENTILE = 99


def explanation_upper(values: np.ndarray) -> float:
    """Give the value that a drawing takes for the brightest: the 99th percentile of the map.

    Such maps have no unit and no bound, and a few pixels may be far above all others.

    Args:
        values: Float >= 0, any shape; NaN is left out.

    Returns:
        A number > 0: the largest value where the percentile is 0, and 1 for a map of zeros.
    """
    known = np.asarray(values, np.float64)
    known = known[np.isfinite(known)]
    if known.size:
        for upper in (np.percentile(known, EXPLANATION_PERCENTILE), known.max()):
            if upper > 0:
                return float(upper)
    return 1.0
