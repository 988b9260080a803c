"""What holds for every family at every site: identity, padding, swapping, gradients, saving and loading."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from amix.engine.base.errors import TrainError
from amix.engine.mixing.attentionmix import AttentionMix
from amix.engine.mixing.plan import Plan
from amix.loaders.stream.batch import Batch
from amix.train.model.classifier import takes_token_types, usable_positions
from amix.train.model.forward import forward, require_site
from amix.train.objective.mixers import build_mixer
from amix.train.options.config import TrainConfig
from tests.train.model.families import FAMILIES, batch, classifier, first_rows, widened

SITES = ("embedding", "hidden:0", "hidden:1", "hidden:2", "hidden:3", "pooled")
AROUND = torch.tensor([1, 2, 0])


def sites_of(model: Any) -> tuple[str, ...]:
    """Decoders read one position of their last layer, so there is nothing to mix after it."""
    return tuple(site for site in SITES if not (hasattr(model, "score") and site == "hidden:3"))


def plan_of(data: Batch, site: str, partner: Tensor) -> Plan:
    """An AttentionMix plan, moved to `site`; at the pooled vector every row keeps its own mask."""
    plan = AttentionMix().plan(
        data["attention_mask"], relevance=data["relevance"], content=data["content"], partner=partner
    )
    mask = data["attention_mask"] if site == "pooled" else plan.attention_mask
    return replace(plan, site=site, attention_mask=mask)


@pytest.fixture(scope="module", params=FAMILIES)
def model(request: pytest.FixtureRequest) -> Any:
    return classifier(request.param)


@pytest.mark.parametrize("site", SITES)
def test_mixing_keeps_its_promises(model: Any, site: str) -> None:
    data = batch(model)
    if site not in sites_of(model):
        with pytest.raises(TrainError, match=r"hidden:3: .*end at hidden:2"):
            forward(model, data, plan_of(data, site, AROUND))
        return
    with torch.no_grad():
        clean = forward(model, data)
        alone = forward(model, data, plan_of(data, site, torch.arange(3)))
        mixed = forward(model, data, plan_of(data, site, AROUND))
        assert torch.allclose(alone, clean, atol=1e-6)
        assert (mixed - clean).abs().amax(dim=1).min() > 1e-4

        # Padding changes nothing, without and with mixing.
        wide = widened(data, 4, pad=model.config.pad_token_id)
        assert torch.allclose(forward(model, wide), clean, atol=1e-5)
        assert torch.allclose(forward(model, wide, plan_of(wide, site, AROUND)), mixed, atol=1e-5)

        # Token types, where rows differ in them, are part of a row: without them the two sides are symmetric.
        pair = first_rows(data, 2)
        plan = plan_of(pair, site, torch.tensor([1, 0]))
        one, other = forward(model, pair, plan)
        assert torch.allclose(one, other, atol=1e-5)
        labels = plan.mix_labels(torch.tensor([0, 2]), 3)
        assert torch.allclose(labels[0], labels[1], atol=1e-6)

        # Nothing of the row is left: its partner's logits, so nothing of the row was read beside the mixing.
        gone = replace(
            plan_of(data, site, AROUND),
            ratio=torch.zeros(3, 9),
            label_weight=torch.zeros(3),
            attention_mask=data["attention_mask"][AROUND],
        )
        assert torch.allclose(forward(model, data, gone), clean[AROUND], atol=1e-5)


def test_gradients_reach_both_sides_and_every_parameter(model: Any) -> None:
    data = batch(model)

    def reached(plan: Plan | None) -> set[str]:
        model.zero_grad()
        forward(model, data, plan)[0].square().sum().backward()
        return {
            name
            for name, value in model.named_parameters()
            if value.grad is not None and value.grad.abs().sum() > 0
        }

    plain = reached(None)
    for site in sites_of(model):
        assert reached(plan_of(data, site, AROUND)) >= plain, site
        gradient = model.get_input_embeddings().weight.grad
        for row, length in ((0, 9), (1, 5)):
            only = set(data["input_ids"][row, :length].tolist()) - set(
                data["input_ids"][1 - row, : 14 - length].tolist()
            )
            assert gradient[sorted(only)].abs().sum() > 0, (site, row)
    model.zero_grad()


def test_a_saved_model_mixes_the_same(model: Any, tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification

    model.save_pretrained(tmp_path)
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    data = batch(model)
    with torch.no_grad():
        assert torch.equal(forward(again, data), forward(model, data))
        for site in sites_of(model):
            plan = plan_of(data, site, AROUND)
            assert torch.equal(forward(again, data, plan), forward(model, data, plan)), site


def test_sites_are_found_sound_beforehand_and_the_model_is_left_as_it_was(model: Any) -> None:
    data = batch(model)
    modules = [(name, id(module)) for name, module in model.named_modules()]
    model.train()
    require_site(model, data, sites_of(model))
    assert model.training
    model.eval()
    assert [(name, id(module)) for name, module in model.named_modules()] == modules
    assert usable_positions(model) == 24
    assert takes_token_types(model) == (
        model.config.model_type in {"bert", "electra", "albert", "xlm-roberta"}
    )


def test_tmix_mixes_every_family_where_it_can_be_mixed(model: Any) -> None:
    mixer = build_mixer(TrainConfig(method="tmix").settled(has_dev=False), model)
    assert set(mixer.sites) <= set(sites_of(model))
    require_site(model, batch(model), mixer.sites)
