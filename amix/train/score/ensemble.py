"""An ensemble's predictions: the mean of its models' probabilities.

Axes: M models, N samples, C classes.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from amix.train.score.evaluate import Predictions
from amix.train.score.metrics import Floats, log_softmax
from amix.train.score.temperature import fit_temperature


def mean_of(members: Sequence[Predictions], temperature: float = 1.0) -> Predictions:
    """Return the predictions of an ensemble, in the form of logits: log probabilities, or log odds of several labels.

    members: of the same texts by each model.  temperature: what each model's logits are divided by before.
    """
    logits_MNC = np.stack([each.logits_NC for each in members]) / temperature
    if members[0].multi_label:
        yes_MNC, no_MNC = -np.logaddexp(0.0, -logits_MNC), -np.logaddexp(0.0, logits_MNC)
        return replace(members[0], logits_NC=_log_mean(yes_MNC) - _log_mean(no_MNC))
    return replace(members[0], logits_NC=_log_mean(log_softmax(logits_MNC)))


def temperature_of(on_dev: Sequence[Predictions | None]) -> float | None:
    """Return the temperature with which `mean_of` fits the development set best.

    on_dev: what each model says of it. None = the model has seen some of these texts. Those models do not count: with
    cross-validation the temperature is that of a single model, since no text is new to all. None without any.
    """
    pairs = [each.questions() for each in on_dev if each is not None]
    return fit_temperature(np.stack([logits for logits, _ in pairs]), pairs[0][1]) if pairs else None


def _log_mean(log_MNC: Floats) -> Floats:
    mean: Floats = np.logaddexp.reduce(log_MNC, axis=0) - np.log(len(log_MNC))
    return mean
