"""Plans inside models of several families: what is mixed, what is masked, and what stays as it was."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from amix.engine.attentionmix import AttentionMix
from amix.engine.errors import TrainError
from amix.engine.mixing import NoMix
from amix.engine.pairmix import WordMixup
from amix.train.classifier import takes_token_types, usable_positions
from amix.train.forward import forward, require_embedding_site

SMALL: dict[str, Any] = {
    "initializer_range": 0.3,
    "vocab_size": 40,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}
FAMILIES: dict[str, dict[str, Any]] = {
    "bert": {"intermediate_size": 32, "max_position_embeddings": 24},
    "roberta": {
        "type_vocab_size": 1,
        "intermediate_size": 32,
        "max_position_embeddings": 26,
        "pad_token_id": 1,
    },
    "distilbert": {"hidden_dim": 32, "max_position_embeddings": 24},
    "electra": {"intermediate_size": 32, "max_position_embeddings": 24, "embedding_size": 8},
    "mpnet": {"intermediate_size": 32, "max_position_embeddings": 26, "pad_token_id": 1},
    "albert": {"intermediate_size": 32, "max_position_embeddings": 24, "embedding_size": 8},
    "xlm-roberta": {"intermediate_size": 32, "max_position_embeddings": 26, "pad_token_id": 1},
}


def classifier(family: str) -> Any:
    from transformers import AutoConfig, AutoModelForSequenceClassification

    torch.manual_seed(0)
    config = AutoConfig.for_model(family, num_labels=3, **SMALL, **FAMILIES[family])
    return AutoModelForSequenceClassification.from_config(config).eval()


def batch(pad: int = 0) -> dict[str, Tensor]:
    mask = torch.tensor([[1] * 9, [1] * 5 + [0] * 4, [1] * 7 + [0] * 2])
    ids = torch.randint(4, 40, mask.shape, generator=torch.Generator().manual_seed(1))
    return {
        "input_ids": torch.where(mask.bool(), ids, pad),
        "attention_mask": mask,
        "relevance": torch.rand(mask.shape, generator=torch.Generator().manual_seed(2)) * mask,
        "content": mask.bool(),
        "token_type_ids": (torch.arange(9).expand_as(mask) > 3).long() * mask,
    }


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_mixes_where_it_says(family: str) -> None:
    model = classifier(family)
    data = batch(pad=model.config.pad_token_id or 0)
    require_embedding_site(model, data)
    assert usable_positions(model) == 24
    clean = forward(model, data)
    plan = AttentionMix().plan(
        data["attention_mask"], relevance=data["relevance"], partner=torch.tensor([1, 2, 0])
    )
    mixed = forward(model, data, plan)
    assert mixed.shape == (3, 3)
    assert (mixed - clean).abs().amax(dim=1).min() > 1e-4

    # Mixed with oneself: through the embeddings, and yet the same logits.
    alone = AttentionMix().plan(data["attention_mask"], relevance=data["relevance"], partner=torch.arange(3))
    assert not alone.is_identity
    assert torch.allclose(forward(model, data, alone), clean, atol=1e-5)


def test_padding_has_no_say_in_mixed_logits() -> None:
    model = classifier("bert")
    data = batch()
    wide = {name: nn.functional.pad(value, (0, 4)) for name, value in data.items()}
    partner = torch.tensor([1, 0, 2])
    logits = [
        forward(
            model,
            each,
            AttentionMix().plan(each["attention_mask"], relevance=each["relevance"], partner=partner),
        )
        for each in (data, wide)
    ]
    assert torch.allclose(*logits, atol=1e-5)


def test_the_mixed_row_of_unequal_lengths_is_a_plain_computation() -> None:
    model = classifier("bert")
    data = batch()
    partner = torch.tensor([2, 0, 1])
    plan = WordMixup().plan(
        data["attention_mask"], partner=partner, generator=torch.Generator().manual_seed(3)
    )
    words = model.get_input_embeddings().weight
    by_hand = torch.zeros(3, 9, 16)
    for row in range(3):
        other = int(partner[row])
        for place in range(9):
            own_is, other_is = data["attention_mask"][row, place], data["attention_mask"][other, place]
            weight = float(plan.label_weight[row]) if own_is and other_is else float(own_is or not other_is)
            by_hand[row, place] = (
                weight * words[data["input_ids"][row, place]]
                + (1 - weight) * words[data["input_ids"][other, place]]
            )
    union = (data["attention_mask"] | data["attention_mask"][partner]).long()
    expected = model(
        inputs_embeds=by_hand,
        attention_mask=union,
        token_type_ids=plan.mix_token_types(data["token_type_ids"]),
    ).logits
    assert torch.allclose(forward(model, data, plan), expected, atol=1e-5)


def test_an_identity_takes_the_plain_path() -> None:
    model = classifier("bert")
    data = batch()
    plan = NoMix().plan(data["attention_mask"])
    assert torch.equal(forward(model, data, plan), forward(model, data))
    expected = model(
        **{name: data[name] for name in ("input_ids", "attention_mask", "token_type_ids")}
    ).logits
    assert torch.equal(forward(model, data, plan), expected)


def test_gradients_reach_the_words_of_both_sides() -> None:
    model = classifier("bert")
    data = batch()
    plan = AttentionMix().plan(
        data["attention_mask"], relevance=data["relevance"], partner=torch.tensor([1, 0, 2])
    )
    forward(model, data, plan)[0].sum().backward()
    gradient = model.get_input_embeddings().weight.grad
    assert gradient[data["input_ids"][0]].abs().sum() > 0
    assert gradient[data["input_ids"][1, :5]].abs().sum() > 0


def test_token_types_go_only_where_a_model_takes_them() -> None:
    assert takes_token_types(classifier("bert"))
    assert not takes_token_types(classifier("distilbert"))
    assert not takes_token_types(
        classifier("roberta")
    )  # one type only: the ids of a pair would be out of range


def test_a_model_that_treats_embeddings_otherwise_is_refused() -> None:
    model = classifier("bert")
    model.train()
    words = model.get_input_embeddings()

    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.config, self.bert = model.config, model

        def get_input_embeddings(self) -> nn.Module:
            return words

        def forward(
            self, input_ids: Tensor | None = None, inputs_embeds: Tensor | None = None, **rest: Any
        ) -> Any:
            if input_ids is not None:
                inputs_embeds = 4 * words(input_ids)
            return self.bert(inputs_embeds=inputs_embeds, **rest)

    scaled = Scaled().train()
    with pytest.raises(TrainError, match="different logits"):
        require_embedding_site(scaled, batch())
    assert scaled.training
