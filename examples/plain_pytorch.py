#!/usr/bin/env python
"""Mixing in your own loop: torch, transformers, and from amix a mixer, a loader and a loss.

python examples/plain_pytorch.py [--model ENCODER] [--shards FOLDER] [--epochs N]
"""

from typing import Any

import torch
from sample_set import SampleSet, sample_set, show
from torch import Tensor

from amix import AttentionMix, NoMix, RelevanceLoader, soft_cross_entropy
from amix.engine.mixing.mixer import Mixer


def train(samples: SampleSet, mixer: Mixer) -> Any:  # noqa: ANN401  a transformers classifier
    """Return a classifier trained on batches that `mixer` mixes at the word embeddings."""
    torch.manual_seed(0)
    model = samples.classifier().train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    loader = RelevanceLoader(samples.train, batch_size=8, seed=0)
    generator = torch.Generator().manual_seed(0)
    for epoch in range(samples.epochs):
        loader.set_epoch(epoch)
        for batch in loader:
            plan = mixer.plan(
                batch["attention_mask"],
                relevance=batch["relevance"],
                content=batch["content"],
                generator=generator,
            )
            words = model.get_input_embeddings()(batch["input_ids"])
            logits = model(inputs_embeds=plan.mix(words), attention_mask=plan.attention_mask).logits
            loss = soft_cross_entropy(logits, plan.mix_labels(batch["labels"], samples.train.num_classes))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return model.eval()


@torch.no_grad()
def predict(samples: SampleSet, model: Any) -> tuple[Tensor, Tensor]:  # noqa: ANN401  a transformers classifier
    """Return logits and labels of the test sentences, which nothing mixes."""
    batches = list(RelevanceLoader(samples.test, batch_size=64, shuffle="none"))
    logits = [model(input_ids=b["input_ids"], attention_mask=b["attention_mask"]).logits for b in batches]
    return torch.cat(logits), torch.cat([b["labels"] for b in batches])


if __name__ == "__main__":
    with sample_set(__doc__) as samples:
        # Half of the rows are mixed; to learn from mixed rows alone takes more epochs than an example has.
        mixers: dict[str, Mixer] = {"plain": NoMix(), "mixed": AttentionMix(p=0.5)}
        show({name: predict(samples, train(samples, mixer)) for name, mixer in mixers.items()})
