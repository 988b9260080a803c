"""The control: a text keeps the values of its relevance, and loses which word has which."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from amix.engine.base.errors import MixingError
from amix.engine.mixing.attentionmix import AttentionMix
from amix.loaders.stream.batch import Batch
from amix.train.objective import Objective
from amix.train.objective.permuted import permuted
from tests.engine.mixing.strategies import Sample, batches


def keys_of(mask: Tensor) -> list[str]:
    return [f"{7 * row:012d}" for row in range(len(mask))]


@given(batch=batches(), seed=st.integers(0, 2**62))
def test_equal_to_a_loop_over_the_words(batch: Sample, seed: int) -> None:
    mask, content, relevance, _ = batch
    found = permuted(relevance, content, keys_of(mask), seed).tolist()
    for row, key in enumerate(keys_of(mask)):
        places = [place for place, inside in enumerate(content[row].tolist()) if inside]
        order = np.random.Generator(np.random.Philox([seed, int(key)])).permutation(len(places))
        expected = relevance[row].tolist()
        for place, drawn in zip(places, order, strict=True):
            expected[place] = float(relevance[row, places[drawn]])
        assert found[row] == expected


@given(batch=batches(), seed=st.integers(0, 99))
def test_a_text_keeps_its_values_and_what_is_not_content(batch: Sample, seed: int) -> None:
    mask, content, relevance, _ = batch
    before = relevance.clone()
    found = permuted(relevance, content, keys_of(mask), seed)
    assert torch.equal(relevance, before)
    assert torch.equal(found[~content], relevance[~content])
    for row in range(len(mask)):
        assert torch.equal(found[row][content[row]].sort().values, relevance[row][content[row]].sort().values)


@given(batch=batches(min_rows=2), seed=st.integers(0, 99), more=st.integers(0, 3))
def test_neither_padding_nor_the_other_texts_of_the_batch_have_a_say(
    batch: Sample, seed: int, more: int
) -> None:
    mask, content, relevance, _ = batch
    keys = keys_of(mask)
    found = permuted(relevance, content, keys, seed)
    wide = [torch.nn.functional.pad(each.flip(0), (0, more)) for each in (relevance, content)]
    again = permuted(wide[0], wide[1].bool(), keys[::-1], seed)
    assert torch.equal(again[:, : mask.shape[1]].flip(0), found)


def test_head_specs_are_permuted_alike_and_texts_and_seeds_differently() -> None:
    relevance = torch.arange(1.0, 41).repeat(3, 1)
    content = torch.ones(3, 40, dtype=torch.bool)
    keys = ["000000000001", "000000000002", "000000000001"]
    one = permuted(relevance, content, keys, 0)
    both = permuted(torch.stack([relevance, -relevance], dim=1), content, keys, 0)
    assert torch.equal(both, torch.stack([one, -one], dim=1))
    assert torch.equal(one[0], one[2])
    assert not torch.equal(one[0], one[1])
    assert not torch.equal(one, permuted(relevance, content, keys, 1))


def test_a_plan_differs_in_nothing_but_the_ratios() -> None:
    generator = torch.Generator().manual_seed(1)
    mask = torch.arange(12) < torch.tensor([12, 9, 12, 5, 7, 12])[:, None]
    batch: Batch = {
        "input_ids": mask.long(),
        "attention_mask": mask.long(),
        "relevance": torch.rand(mask.shape, generator=generator) * mask,
        "keys": keys_of(mask),
    }
    mixer = AttentionMix(p=0.7, alpha=0.5)
    plans = [
        Objective(mixer=mixer, num_classes=2, permuted=seed).plan(
            torch.nn.Module(), batch, torch.Generator().manual_seed(2)
        )
        for seed in (None, 3)
    ]
    assert torch.equal(plans[0].partner, plans[1].partner)
    assert torch.equal(plans[0].attention_mask, plans[1].attention_mask)
    assert torch.equal(plans[0].ratio == 1, plans[1].ratio == 1)
    assert not torch.equal(plans[0].ratio, plans[1].ratio)


def test_without_keys_it_is_refused() -> None:
    ones = torch.ones(2, 3)
    batch: Batch = {"input_ids": ones.long(), "attention_mask": ones.long(), "relevance": ones}
    with pytest.raises(MixingError, match="needs the batch's keys"):
        Objective(mixer=AttentionMix(), num_classes=2, permuted=0).plan(torch.nn.Module(), batch)
