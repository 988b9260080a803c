"""Mean word embeddings, and plans whose partners are chosen by them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from amix.engine.mixing.attentionmix import AttentionMix
from amix.engine.mixing.partners import Draws
from amix.engine.mixing.similar import near_rows
from amix.loaders.stream.batch import Batch
from amix.train.objective import Objective
from amix.train.objective.means import mean_words

LENGTHS = [7, 4, 6, 5, 7, 3, 1, 6]


@pytest.fixture
def model(tiny_bert: Path) -> Any:
    from transformers import AutoModelForSequenceClassification

    torch.manual_seed(0)
    return AutoModelForSequenceClassification.from_pretrained(tiny_bert, num_labels=2)


@pytest.fixture
def batch() -> Batch:
    generator = torch.Generator().manual_seed(1)
    mask = (torch.arange(7) < torch.tensor(LENGTHS)[:, None]).long()
    content = mask.bool().clone()
    content[:, 0] = False
    return {
        "input_ids": torch.randint(5, 90, mask.shape, generator=generator) * mask,
        "attention_mask": mask,
        "relevance": torch.rand(mask.shape, generator=generator) * mask,
        "content": content,
        "labels": torch.arange(8) % 2,
    }


def padded(batch: Batch, more: int) -> Batch:
    wide: Any = dict(batch)
    for name in ("input_ids", "attention_mask", "relevance", "content"):
        wide[name] = torch.nn.functional.pad(wide[name], (0, more))
    return wide  # type: ignore[no-any-return]  # of the same fields


def test_it_is_the_mean_over_the_words_of_a_text(model: Any, batch: Batch) -> None:
    found = mean_words(model, batch)
    table = model.get_input_embeddings().weight.detach().double().numpy()
    for row, content in enumerate(batch["content"].numpy()):
        words = [table[word] for word in batch["input_ids"][row].numpy()[content]]
        expected = np.mean(words, axis=0) if words else np.zeros(table.shape[1])
        np.testing.assert_allclose(found[row].numpy(), expected, rtol=0, atol=1e-12)
    assert found.requires_grad is False
    assert not bool(found[LENGTHS.index(1)].any())  # it has no word


def test_neither_padding_nor_what_is_there_has_a_say(model: Any, batch: Batch) -> None:
    wide = padded(batch, 3)
    wide["input_ids"][wide["attention_mask"] == 0] = 17
    wide["content"] = wide["content"] | (wide["attention_mask"] == 0)
    torch.testing.assert_close(mean_words(model, wide), mean_words(model, batch), rtol=0, atol=1e-15)


def test_it_follows_the_weights(model: Any, batch: Batch) -> None:
    before = mean_words(model, batch)
    with torch.no_grad():
        model.get_input_embeddings().weight.mul_(2.0)
    torch.testing.assert_close(mean_words(model, batch), 2.0 * before)


@pytest.mark.parametrize("progress", [0.0, 0.4, 1.0])
def test_partners_are_near_within_their_group(progress: float, model: Any, batch: Batch) -> None:
    objective = Objective(mixer=AttentionMix(partner="similar"), num_classes=2)
    plan = objective.plan(model, batch, Draws(1, 0, 0, 4), progress=progress)
    means, unpaired = mean_words(model, batch), 0
    for begin in (0, 4):
        near = near_rows(means[begin : begin + 4], progress)
        for row, partner in enumerate((plan.partner[begin : begin + 4] - begin).tolist()):
            assert near[row, partner] if near[row].any() else partner == row
            unpaired += not near[row].any()
    assert plan.unpaired == unpaired
    if progress in (0.0, 1.0):
        assert (unpaired > 0) == (progress == 0.0)  # one pair of six is near at first

    alone = objective.plan(model, batch, torch.Generator().manual_seed(2), progress=progress)
    assert bool(
        near_rows(means, progress)[torch.arange(8), alone.partner][alone.partner != torch.arange(8)].all()
    )


def test_all_are_near_when_no_progress_is_given(model: Any, batch: Batch) -> None:
    objective = Objective(mixer=AttentionMix(partner="similar"), num_classes=2)
    drawn = {
        tuple(objective.plan(model, batch, torch.Generator().manual_seed(seed)).partner.tolist())
        for seed in range(40)
    }
    seen: list[Tensor] = [torch.tensor(partner) for partner in drawn]
    assert all({int(each[row]) for each in seen} == {*range(8)} - {row} for row in range(8))


def test_other_choices_do_not_look_at_the_words(batch: Batch) -> None:
    objective = Objective(mixer=AttentionMix(), num_classes=2)
    plans = [
        objective.plan(torch.nn.Module(), batch, Draws(1, 0, 0, 4), progress=progress)
        for progress in (0.0, 1.0)
    ]
    assert torch.equal(plans[0].partner, plans[1].partner)
    assert torch.equal(plans[0].ratio, plans[1].ratio)
