"""How sure a difference between two methods is that were compared on folds of the same texts."""

import math
from collections.abc import Sequence

import numpy as np

_GRID = 20_000


def fold_interval(differences: Sequence[float], folds: int, level: float) -> tuple[float, float]:
    """Return the ends of the interval of a mean difference over folds, dealt out once or several times.

    Trainings share most of their texts, so their differences are no independent draws, and the plain t interval is too
    narrow. This is that of Nadeau and Bengio (2003, "Inference for the Generalization Error", section 3): the variance
    of the mean counts the texts of a fold in proportion to those of the others, too.
    differences: two or more, one for each training.  folds: of a deal.  level: such as 0.95.
    """
    count = len(differences)
    mean, deviation = float(np.mean(differences)), float(np.std(differences, ddof=1))
    half = t_quantile(0.5 + level / 2, count - 1) * deviation * math.sqrt(1 / count + 1 / (folds - 1))
    return mean - half, mean + half


def t_quantile(share: float, freedom: int) -> float:
    """Return the value below which `share`, at least one half, of Student's t distribution is."""
    # With t = sqrt(freedom) * tan(angle) the density becomes a power of the cosine, on a bounded range.
    angle = np.linspace(0.0, math.pi / 2, _GRID + 1)
    density = np.cos(angle) ** (freedom - 1)
    below = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
    found = np.interp(2 * share - 1, below / below[-1], angle)
    return math.sqrt(freedom) * math.tan(float(found))
