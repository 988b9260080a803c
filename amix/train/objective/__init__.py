"""From a batch to its loss: the mixer, the relevance it needs, and what is minimised."""

from amix.train.objective.objective import Objective

__all__ = ["Objective"]
