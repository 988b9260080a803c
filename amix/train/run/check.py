"""What would stop a run before its first step, and the memory that it will need, found without starting it."""

from collections.abc import Sequence
from pathlib import Path

import torch

from amix.engine.extractor.encoder import attention_shape
from amix.loaders.stream.dataset import RelevanceDataset
from amix.train.model.batch import shortest_and_longest, to_device
from amix.train.model.classifier import Classifier, load_classifier, load_tokenizer, require_room
from amix.train.model.forward import require_site
from amix.train.options.auto import AUTO
from amix.train.options.config import TrainConfig
from amix.train.options.dev import parse_dev
from amix.train.run.accelerator import open_accelerator, seeded
from amix.train.run.data.sets import Sets, open_sets
from amix.train.run.setup import build_loader, build_objective, checkpoint_gradients

# Measured: the interpreter with its libraries, and the weights with their gradients, both moments of AdamW and a copy
# of the best epoch's.
_BASE = 350_000_000
_COPIES = 5
_CPU = torch.device("cpu")


class Checker:
    """Checks runs on the same caches; the classifier is loaded once for all of them.

    shards, model, evals: as `train` takes them.
    """

    def __init__(self, shards: str | Path, model: str, evals: Sequence[tuple[str, str | Path]]) -> None:
        self._shards, self._model, self._evals = shards, model, evals
        self._network: Classifier | None = None

    def check(self, config: TrainConfig, dev: str | Path | None) -> int:
        """Raise AmixError where `train` would before its first step. A head that `auto` stands for is not looked for.

        Returns about how many bytes of memory the run will need.
        """
        chosen = parse_dev(dev)
        config = config.settled(has_dev=chosen is not None)
        accelerator = open_accelerator(config.device, config.mixed_precision)
        sets = open_sets(self._shards, config, chosen, self._evals)
        network = self._opened(sets)
        for each in sets:
            require_room(network, self._model, each)

        objective = build_objective(config, network, sets)
        build_loader(config, accelerator, sets)
        if config.gradient_checkpointing:
            checkpoint_gradients(network, objective.mixer)
        batch = to_device(shortest_and_longest(sets.training), _CPU)
        require_site(network, batch, objective.mixer.sites)
        # With p auto the models of all folds are trained side by side.
        models = 1 + (len(sets.folds) if config.p == AUTO else 0)
        return run_bytes(network, config.batch_size, sets.training, models)

    def _opened(self, sets: Sets) -> Classifier:
        if self._network is None:
            load_tokenizer(self._model, sets.manifest)
            with seeded(0, _CPU):
                self._network = load_classifier(self._model, sets.classes, sets.manifest)
        return self._network


def run_bytes(network: Classifier, batch_size: int, training: RelevanceDataset, models: int = 1) -> int:
    """Return about how many bytes of memory it takes to train `network`, or `models` like it side by side.

    Activations are counted as by Korthikanti et al. (2022), section 4.1, in float32: those of one layer for one token
    take 17 times the width and 3.5 times the heads times the tokens of the text.
    """
    config = network.config.get_text_config()
    layers, heads = attention_shape(config)
    longest = int(training.lengths().max(initial=0))
    weights = sum(each.numel() * each.element_size() for each in network.parameters())
    per_token = 4 * layers * (17 * int(config.hidden_size) + 3.5 * heads * longest)
    return int(_BASE + models * _COPIES * weights + batch_size * longest * per_token)
