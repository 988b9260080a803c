"""The loss of a batch, and the two signals that a model in training gives: saliency and its own attention."""

from pathlib import Path
from typing import Any

import pytest
import torch

from amix.engine.base.errors import HeadError, MixingError, UsageError
from amix.engine.extractor.session import open_session
from amix.engine.mixing.attentionmix import AttentionMix
from amix.engine.mixing.mixer import Mixer, NoMix
from amix.engine.mixing.pairmix import WordMixup
from amix.engine.mixing.partners import Draws
from amix.engine.mixing.ssmix import SSMix
from amix.loaders.stream.batch import Batch
from amix.train.model.forward import forward
from amix.train.objective import Objective
from amix.train.objective.online import OnlineRelevance
from amix.train.objective.saliency import saliency


@pytest.fixture
def model(tiny_bert: Path) -> Any:
    from transformers import AutoModelForSequenceClassification

    torch.manual_seed(0)
    return AutoModelForSequenceClassification.from_pretrained(tiny_bert, num_labels=3).eval()


@pytest.fixture
def batch() -> Batch:
    mask = torch.tensor([[1] * 7, [1] * 4 + [0] * 3, [1] * 6 + [0], [1] * 5 + [0] * 2])
    ids = torch.randint(5, 90, mask.shape, generator=torch.Generator().manual_seed(1)) * mask
    content = mask.bool().clone()
    content[:, 0] = False
    return {
        "input_ids": ids,
        "attention_mask": mask,
        "token_type_ids": torch.zeros_like(mask),
        "relevance": torch.rand(mask.shape, generator=torch.Generator().manual_seed(2)) * mask,
        "content": content,
        "labels": torch.tensor([0, 2, 1, 1]),
    }


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def test_saliency_is_the_gradient_norm_at_the_word_embeddings(model: Any, batch: Batch) -> None:
    found = saliency(model, batch)
    for row in range(4):
        tokens = int(batch["attention_mask"][row].sum())
        ids = batch["input_ids"][row : row + 1, :tokens]  # alone and unpadded: nothing else has a say
        words = model.get_input_embeddings()(ids).detach().requires_grad_()
        logits = model(inputs_embeds=words).logits
        torch.nn.functional.cross_entropy(logits, batch["labels"][row : row + 1]).backward()
        norm = words.grad[0].norm(dim=1)
        torch.testing.assert_close(found[row, :tokens], norm / norm.max(), rtol=1e-4, atol=1e-5)
        assert not bool(found[row, tokens:].any())


def test_saliency_leaves_the_parameters_gradients_alone(model: Any, batch: Batch) -> None:
    model.zero_grad()
    saliency(model, batch)
    assert all(parameter.grad is None for parameter in model.parameters())
    before = forward(model, batch)
    assert torch.equal(before, forward(model, batch))  # the hook is gone


def test_online_relevance_is_what_a_session_gives_for_the_same_weights(
    model: Any, batch: Batch, tiny_extractor: Path
) -> None:
    expected = open_session(tiny_extractor).run(
        batch["input_ids"].numpy(), batch["attention_mask"].numpy(), batch["token_type_ids"].numpy()
    )
    model.train()  # dropout must not reach it
    for head, rows in (("0.1", [1]), ("0.mean", [0, 1]), ("1.0", [2]), ("mean", [0, 1, 2, 3])):
        found = OnlineRelevance(model, head)(batch)
        torch.testing.assert_close(
            found, torch.from_numpy(expected[:, rows].mean(axis=1)), rtol=1e-4, atol=1e-5
        )
    several = OnlineRelevance(model, "0.1|mean")(batch)
    assert several.shape == (4, 2, 7)
    torch.testing.assert_close(several[:, 0], torch.from_numpy(expected[:, 1]), rtol=1e-4, atol=1e-5)
    assert model.training


def test_online_relevance_follows_the_weights(model: Any, batch: Batch) -> None:
    online = OnlineRelevance(model, "0.mean")
    before = online(batch)
    with torch.no_grad():
        for parameter in model.base_model.encoder.layer[0].attention.parameters():
            parameter.mul_(1.5)
    assert not torch.allclose(before, online(batch), atol=1e-3)
    assert online(batch).requires_grad is False
    assert len(list(model.base_model.encoder.layer)) == 2  # the model itself is whole
    assert model.config.num_hidden_layers == 2


def test_a_head_that_the_model_lacks_is_named(model: Any) -> None:
    with pytest.raises(HeadError, match=r"'2\.0': the model does not hold it"):
        OnlineRelevance(model, "2.0")


@pytest.mark.parametrize("clean", [0.0, 0.25, 1.0])
def test_the_loss_is_the_weighted_sum_of_mixed_and_clean(clean: float, model: Any, batch: Batch) -> None:
    objective = Objective(mixer=AttentionMix(), num_classes=3, clean_weight=clean)
    plan = objective.plan(model, batch, generator())
    probabilities = torch.log_softmax(forward(model, batch, plan).double(), dim=1)
    own = -probabilities[torch.arange(4), batch["labels"]]
    other = -probabilities[torch.arange(4), batch["labels"][plan.partner]]
    mixed = (plan.label_weight * own + (1 - plan.label_weight) * other).mean()
    plain = torch.nn.functional.cross_entropy(forward(model, batch).double(), batch["labels"])
    expected = (1 - clean) * mixed + clean * plain
    torch.testing.assert_close(objective.loss(model, batch, plan).double(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("mixer", [NoMix(), WordMixup(p=0.6)])
def test_label_smoothing_is_torchs(mixer: Mixer, model: Any, batch: Batch) -> None:
    objective = Objective(mixer=mixer, num_classes=3, clean_weight=0.25, label_smoothing=0.3)
    plan = objective.plan(model, batch, generator())

    def entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(logits, labels, label_smoothing=0.3, reduction="none")

    logits, weight = forward(model, batch, plan), plan.label_weight
    mixed = weight * entropy(logits, batch["labels"])
    mixed = (mixed + (1 - weight) * entropy(logits, batch["labels"][plan.partner])).mean()
    clean = entropy(forward(model, batch), batch["labels"]).mean()
    expected = clean if plan.is_identity else 0.75 * mixed + 0.25 * clean
    torch.testing.assert_close(objective.loss(model, batch, plan), expected)


def test_label_smoothing_needs_one_label_a_text() -> None:
    with pytest.raises(
        UsageError, match=r"label_smoothing is 0\.1, which has no meaning where a text has several"
    ):
        Objective(mixer=NoMix(), num_classes=3, multi_label=True, label_smoothing=0.1)
    with pytest.raises(UsageError, match=r"label_smoothing is 1\.1"):
        Objective(mixer=NoMix(), num_classes=3, label_smoothing=1.1)


def test_soft_labels_do_not_become_binary_cross_entropy(model: Any, batch: Batch) -> None:
    objective = Objective(mixer=WordMixup(), num_classes=3)
    plan = objective.plan(model, batch, generator())
    soft: Batch = {**batch, "labels": torch.nn.functional.one_hot(batch["labels"], 3).float()}
    before = model.config.problem_type
    torch.testing.assert_close(objective.loss(model, soft, plan), objective.loss(model, batch, plan))
    assert model.config.problem_type == before


def test_multi_label_is_binary_cross_entropy_on_mixed_targets(model: Any, batch: Batch) -> None:
    weights = torch.tensor([[1.0, 0, 1], [0, 0, 1], [1, 1, 0], [0, 0, 0]])
    objective = Objective(mixer=WordMixup(), num_classes=3, multi_label=True)
    data: Batch = {**batch, "labels": weights}
    plan = objective.plan(model, data, generator())
    lam = plan.label_weight[:, None]
    targets = lam * weights + (1 - lam) * weights[plan.partner]
    expected = torch.nn.functional.binary_cross_entropy_with_logits(forward(model, data, plan), targets)
    torch.testing.assert_close(objective.loss(model, data, plan), expected)


def test_ssmix_plans_from_saliency_and_moves_words(model: Any, batch: Batch) -> None:
    objective = Objective(mixer=SSMix(span_share=0.5), num_classes=3)
    plan = objective.plan(model, batch, generator())
    expected = SSMix(span_share=0.5).plan(
        batch["attention_mask"],
        saliency=saliency(model, batch),
        content=batch["content"],
        partner=plan.partner,
    )
    assert torch.equal(plan.source, expected.source)
    words = torch.where(
        plan.ratio == 0, batch["input_ids"][plan.partner[:, None], plan.source], batch["input_ids"]
    )
    by_ids = model(input_ids=words, attention_mask=batch["attention_mask"]).logits
    torch.testing.assert_close(forward(model, batch, plan), by_ids, rtol=1e-4, atol=1e-5)


def test_online_relevance_takes_the_place_of_the_batchs(model: Any, batch: Batch) -> None:
    online = OnlineRelevance(model, "0.0")
    bare = batch.copy()
    del bare["relevance"]
    plan = Objective(mixer=AttentionMix(), num_classes=3, online=online).plan(model, bare, generator())
    expected = AttentionMix().plan(
        batch["attention_mask"], relevance=online(batch), content=batch["content"], partner=plan.partner
    )
    torch.testing.assert_close(plan.ratio, expected.ratio)
    with pytest.raises(MixingError, match="needs relevance"):
        Objective(mixer=AttentionMix(), num_classes=3).plan(model, bare, generator())


def test_no_mixing_is_the_plain_loss(model: Any, batch: Batch) -> None:
    objective = Objective(mixer=NoMix(), num_classes=3, clean_weight=0.5)
    loss = objective.loss(model, batch, objective.plan(model, batch))
    torch.testing.assert_close(
        loss, torch.nn.functional.cross_entropy(forward(model, batch), batch["labels"])
    )
    with pytest.raises(UsageError, match=r"clean_weight is 1\.5"):
        Objective(mixer=NoMix(), num_classes=2, clean_weight=1.5)


@pytest.mark.parametrize("draws", [None, Draws(1, 0, 0, 2)])
@pytest.mark.parametrize("p", [0.0, 0.4, 1.0])
def test_a_probability_for_one_plan_takes_the_place_of_the_mixers(
    p: float, draws: Draws | None, model: Any, batch: Batch
) -> None:
    given = Objective(mixer=WordMixup(), num_classes=3).plan(model, batch, draws or generator(), p)
    own = Objective(mixer=WordMixup(p=p), num_classes=3).plan(model, batch, draws or generator())
    for name in ("partner", "ratio", "label_weight", "attention_mask"):
        assert torch.equal(getattr(given, name), getattr(own, name))
    assert given.is_identity == own.is_identity
