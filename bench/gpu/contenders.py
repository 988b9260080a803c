"""What is timed side by side on the same batches: sessions of amix, and what people run without it.

Each brings its results to the host, but for `sdpa`, which has no relevance to bring back.

Axes: B batch, T tokens.
"""

import importlib.util
import os
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from amix.engine.extractor import runner
from amix.engine.extractor.encoder import load_encoder
from amix.engine.extractor.folder import Backend
from amix.engine.extractor.module import RelevanceModule
from amix.engine.extractor.pretrained import quiet_transformers
from amix.engine.extractor.session import open_session
from gpu.budget import Absent
from gpu.card import Card
from gpu.texts import Batch, Ids

Run = Callable[[Ids, Ids], object]  # (B, T) ids and mask


@dataclass(frozen=True, kw_only=True)
class Contender:
    """run: one batch.  run_all: many, as they are run where speed matters."""

    run: Run
    run_all: Callable[[Sequence[Batch]], object]

    @classmethod
    def of(cls, run: Run) -> "Contender":
        """Return what runs one batch after the other."""

        def run_all(batches: Sequence[Batch]) -> None:
            for ids_BT, mask_BT in batches:
                run(ids_BT, mask_BT)

        return cls(run=run, run_all=run_all)


def session(extractor: Path, card: Card, backend: Backend) -> Contender:
    """Return amix's own session. Raises Absent for a backend that cannot run here."""
    if backend == "triton":
        require_triton(card)
    opened = open_session(extractor, device=str(card.device), backend=backend)

    def stream(batches: Sequence[Batch]) -> None:  # as `amix precompute` does
        deque(opened.stream((None, runner.Batch(*batch)) for batch in batches), maxlen=0)

    return Contender(run=opened.run, run_all=stream)


def require_triton(card: Card) -> None:
    """Raise Absent where the backend `triton` cannot run."""
    if importlib.util.find_spec("triton") is None:
        raise Absent("triton is not installed")
    if not card.is_cuda and os.environ.get("TRITON_INTERPRET") != "1":
        raise Absent("triton needs a GPU, or TRITON_INTERPRET=1, in which it shows that it runs")


def eager(model: Path, dtype: torch.dtype, card: Card) -> Contender:
    """Return the loop that people write: transformers with maps, the mean over queries of each, to the host."""
    network = _encoder(model, "eager", dtype, card)

    def run(ids_BT: Ids, mask_BT: Ids) -> object:
        ids, mask = _moved(card, ids_BT, mask_BT)
        with torch.inference_mode():
            maps = network(input_ids=ids, attention_mask=mask, output_attentions=True).attentions
            assert len(maps) == network.config.num_hidden_layers
            # The mean of each map before stacking: stacking the maps would copy all of them once more.
            return torch.stack([map_BHTT.mean(dim=2) for map_BHTT in maps], dim=1).cpu()

    return Contender.of(run)


def sdpa(model: Path, dtype: torch.dtype, card: Card) -> Contender:
    """Return the whole encoder without maps: no method that runs all of it is faster. Its result stays on the card."""
    network = _encoder(model, "sdpa", dtype, card)

    def run(ids_BT: Ids, mask_BT: Ids) -> object:
        ids, mask = _moved(card, ids_BT, mask_BT)
        with torch.inference_mode():
            return network(input_ids=ids, attention_mask=mask).last_hidden_state

    return Contender.of(run)


def compiled(model: Path, dtype: torch.dtype, card: Card) -> Contender:
    """Return amix's eager module, all layers, through torch.compile with shapes left open."""
    encoder = load_encoder(str(model))
    layers = range(encoder.shape[0])
    module = RelevanceModule(encoder.model, layers, dtype=dtype).to(card.device)
    torch._dynamo.reset()  # what was compiled for another encoder counts against its limit
    fast = torch.compile(module, dynamic=True, backend=card.compiler)

    def run(ids_BT: Ids, mask_BT: Ids) -> object:
        ids, mask = _moved(card, ids_BT, mask_BT)
        with torch.no_grad():
            return fast(ids, mask).cpu()

    return Contender.of(run)


def _encoder(model: Path, attention: str, dtype: torch.dtype, card: Card) -> Any:  # noqa: ANN401  transformers' class
    from transformers import AutoModel

    with quiet_transformers():
        network = AutoModel.from_pretrained(
            model, attn_implementation=attention, dtype=dtype, trust_remote_code=False
        )
    if getattr(network, "pooler", None) is not None:
        network.pooler = None  # nobody reads it
    return network.to(card.device).eval()


def _moved(card: Card, *arrays: Ids) -> list[torch.Tensor]:
    return [torch.from_numpy(array).to(card.device) for array in arrays]
