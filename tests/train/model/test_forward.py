"""Plans inside models: what is mixed, what is masked, what stays as it was, and which models are refused."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from amix.engine.base.errors import TrainError
from amix.engine.mixing.attentionmix import AttentionMix
from amix.engine.mixing.mixer import Mixer, NoMix
from amix.engine.mixing.pairmix import SentenceMixup, TMix, WordMixup
from amix.engine.mixing.plan import Plan
from amix.loaders.stream.batch import Batch
from amix.loaders.stream.dataset import RelevanceDataset
from amix.train.model.classifier import load_classifier, takes_token_types
from amix.train.model.forward import forward, require_site
from amix.train.model.network import unwrapped
from tests.train.model.families import batch, classifier


def test_the_mixed_row_of_unequal_lengths_is_a_plain_computation() -> None:
    model = classifier("bert")
    data = batch(model)
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
    data = batch(model)
    plan = NoMix().plan(data["attention_mask"])
    assert torch.equal(forward(model, data, plan), forward(model, data))
    expected = model(
        input_ids=data["input_ids"],
        attention_mask=data["attention_mask"],
        token_type_ids=data["token_type_ids"],
    ).logits
    assert torch.equal(forward(model, data, plan), expected)


def test_token_types_go_only_where_a_model_takes_them() -> None:
    assert takes_token_types(classifier("bert"))
    assert not takes_token_types(classifier("distilbert"))
    # One type only: the ids of a pair would be out of range.
    assert not takes_token_types(classifier("roberta"))


class Outer(nn.Module):
    """A classifier that does with its inputs what `prepare` says before BERT sees them."""

    def __init__(self, prepare: Callable[..., dict[str, Any]]) -> None:
        super().__init__()
        self.bert = classifier("bert")
        self.config, self.prepare = self.bert.config, prepare

    @property
    def base_model(self) -> Any:
        return self.bert.bert

    def get_input_embeddings(self) -> nn.Module:
        embeddings: nn.Module = self.bert.get_input_embeddings()
        return embeddings

    def forward(
        self, input_ids: Tensor | None = None, attention_mask: Tensor | None = None, **rest: Any
    ) -> Any:
        inputs = self.prepare(self, input_ids=input_ids, attention_mask=attention_mask, **rest)
        return self.bert(**inputs)


def scaled(model: Outer, input_ids: Tensor | None, inputs_embeds: Tensor | None = None, **rest: Any) -> Any:
    words = inputs_embeds if input_ids is None else 4 * model.get_input_embeddings()(input_ids)
    return {"inputs_embeds": words, **rest}


def ignored(model: Outer, input_ids: Tensor | None, inputs_embeds: Tensor | None = None, **rest: Any) -> Any:
    del model, inputs_embeds
    return {
        "input_ids": torch.full_like(rest["attention_mask"], 7) if input_ids is None else input_ids,
        **rest,
    }


def lacking(model: Outer, input_ids: Tensor | None, **rest: Any) -> Any:
    del model
    if input_ids is None:
        raise ValueError("You have to specify input_ids")
    return {"input_ids": input_ids, **rest}


@pytest.mark.parametrize(
    ("prepare", "why"),
    [(scaled, "different logits"), (ignored, "different logits"), (lacking, "You have to specify input_ids")],
)
def test_an_encoder_that_ignores_or_lacks_inputs_embeds_is_refused(prepare: Any, why: str) -> None:
    model = Outer(prepare).train()
    data = batch(model)
    with pytest.raises(TrainError, match=rf"level=embedding.*{why}.*inputs_embeds.*--method none"):
        require_site(model, data, ["embedding"])
    assert model.training
    require_site(model, data, ["hidden:0", "hidden:3", "pooled"])  # where no embeddings are passed


def test_a_layer_that_is_not_there_is_refused_with_the_range() -> None:
    model = classifier("bert")
    data = batch(model)
    plan = TMix(layers=(9,)).plan(data["attention_mask"], generator=torch.Generator().manual_seed(0))
    for act in (
        lambda: require_site(model, data, ("hidden:1", "hidden:9")),
        lambda: forward(model, data, plan),
    ):
        with pytest.raises(TrainError, match=r"hidden:9: .*has 3 layers.*'layers' and 'level'.* 0 .* to 3 "):
            act()


def test_what_reads_beside_the_mixing_is_refused() -> None:
    # With a convolution, DeBERTa adds what entered the first layer once more, past anything mixed there.
    model = classifier("deberta-v2", conv_kernel_size=3, conv_act="gelu")
    data = batch(model)
    require_site(model, data, ["embedding", "hidden:1", "hidden:2"])
    with pytest.raises(TrainError, match=r"\(deberta-v2\) cannot be mixed at hidden:0.*Use level=embedding"):
        require_site(model, data, ["hidden:0"])


def bert_in_plain_loops(model: Any, data: Batch, plan: Plan, depth: int) -> Tensor:
    """The mixed logits of a BERT classifier, row by row without padding below, layer by layer above."""
    bert, heads = model.bert, model.config.num_attention_heads

    def layer(number: int, states_TD: Tensor, mask_T: Tensor) -> Tensor:
        part = bert.encoder.layer[number]
        own = part.attention.self
        context = []
        for head in range(heads):
            size = states_TD.shape[1] // heads
            at = slice(head * size, (head + 1) * size)
            query, key, value = (linear(states_TD)[:, at] for linear in (own.query, own.key, own.value))
            scores = query @ key.T / size**0.5
            scores[:, mask_T == 0] = -float("inf")
            context.append(scores.softmax(dim=1) @ value)
        attended = part.attention.output.LayerNorm(
            part.attention.output.dense(torch.cat(context, dim=1)) + states_TD
        )
        inner = nn.functional.gelu(part.intermediate.dense(attended))
        output: Tensor = part.output.LayerNorm(part.output.dense(inner) + attended)
        return output

    below = []
    for ids, types, mask in zip(
        data["input_ids"], data["token_type_ids"], data["attention_mask"], strict=True
    ):
        count = int(mask.sum())
        embeddings = bert.embeddings
        states = embeddings.LayerNorm(
            embeddings.word_embeddings.weight[ids[:count]]
            + embeddings.token_type_embeddings.weight[types[:count]]
            + embeddings.position_embeddings.weight[:count]
        )
        for number in range(depth):
            states = layer(number, states, mask[:count])
        below.append(states)

    rows = []
    for row, own in enumerate(below):
        other = below[int(plan.partner[row])]
        mixed = torch.zeros(max(len(own), len(other)), own.shape[1])
        for place in range(len(mixed)):
            weight = float(plan.ratio[row, place])
            if weight > 0:
                mixed[place] += weight * own[place]
            if weight < 1:
                mixed[place] += (1 - weight) * other[place]
        for number in range(depth, model.config.num_hidden_layers):
            mixed = layer(number, mixed, torch.ones(len(mixed)))
        rows.append(model.classifier(torch.tanh(bert.pooler.dense(mixed[0]))))
    return torch.stack(rows)


@pytest.mark.parametrize("depth", range(4))
@pytest.mark.parametrize("mixer", [TMix(layers=(0,)), AttentionMix()])
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@torch.no_grad()
def test_mixing_between_layers_is_what_plain_loops_say(depth: int, mixer: Mixer, attention: str) -> None:
    model = classifier("bert", attn_implementation=attention)
    for lengths in ((9, 5, 7), (6, 6, 6)):  # without padding the model makes no mask at all
        data = batch(model, lengths)
        plan = mixer.plan(
            data["attention_mask"],
            relevance=data["relevance"],
            partner=torch.tensor([1, 2, 0]),
            generator=torch.Generator().manual_seed(5),
        )
        plan = replace(plan, site=f"hidden:{depth}")
        expected = bert_in_plain_loops(model, data, plan, depth)
        assert torch.allclose(forward(model, data, plan), expected, atol=1e-5)


def test_the_pooled_site_mixes_what_enters_the_last_layer() -> None:
    model = classifier("bert")
    data = batch(model)
    plan = SentenceMixup().plan(data["attention_mask"], generator=torch.Generator().manual_seed(0))
    mixed = forward(model, data, plan)
    handle = model.classifier.register_forward_pre_hook(lambda module, args: (plan.mix(args[0]),))
    assert torch.allclose(mixed, forward(model, data), atol=1e-6)
    handle.remove()
    assert not torch.allclose(mixed, forward(model, data), atol=1e-3)


def test_a_classifier_that_ends_otherwise_has_no_pooled_vector_to_mix() -> None:
    class Curved(Outer):
        def forward(self, *args: Any, **kwargs: Any) -> Any:
            output = super().forward(*args, **kwargs)
            output.logits = output.logits.tanh()
            return output

    model = Curved(lambda model, **inputs: inputs)
    data = batch(model)
    require_site(model, data, ["embedding"])
    with pytest.raises(TrainError, match=r"does not end in a linear layer.*--method sentencemixup"):
        require_site(model, data, ["pooled"])


class Wrapper(nn.Module):
    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module, self.calls = module, 0

    def forward(self, **inputs: Any) -> Any:
        self.calls += 1
        return self.module(**inputs)


@pytest.mark.parametrize("family", ["bert", "gpt2"])
@torch.no_grad()
def test_a_wrapped_model_mixes_the_same(family: str) -> None:
    model = classifier(family)
    data = batch(model)
    for site in ("embedding", "hidden:1", "pooled"):
        plan = replace(WordMixup().plan(data["attention_mask"], partner=torch.tensor([1, 2, 0])), site=site)
        wrapped = Wrapper(model)
        assert id(unwrapped(wrapped)) == id(model)
        assert torch.equal(forward(wrapped, data, plan), forward(model, data, plan))
        assert wrapped.calls == 1  # gradients are reduced over what goes through the wrapper
        if site != "pooled" and (family, site) != ("bert", "embedding"):
            with pytest.raises(TrainError, match=r"under torch\.nn\.DataParallel"):
                forward(nn.DataParallel(model), data, plan)


@pytest.mark.parametrize(("family", "site"), [("bert", "hidden:1"), ("gpt2", "embedding")])
@torch.no_grad()
def test_what_is_exchanged_for_one_call_is_not_compiled_in(family: str, site: str) -> None:
    model = classifier(family)
    data = batch(model)
    compiled: Any = torch.compile(Wrapper(model), backend="eager")  # declared as a function
    if family == "bert":  # compiled as it is, before and after; no compiler takes every release's GPT-2
        clean = forward(compiled, data)
    plan = replace(WordMixup().plan(data["attention_mask"], partner=torch.tensor([1, 2, 0])), site=site)
    assert torch.allclose(forward(compiled, data, plan), forward(model, data, plan), atol=1e-6)
    if family == "bert":
        assert torch.allclose(forward(compiled, data), clean, atol=1e-6)


def test_a_decoder_reads_the_end_of_the_mixed_row() -> None:
    model = classifier("llama")
    data = batch(model)
    partner = torch.tensor([1, 2, 0])
    plan = WordMixup().plan(
        data["attention_mask"], partner=partner, generator=torch.Generator().manual_seed(1)
    )
    words = model.get_input_embeddings()(data["input_ids"])
    mixed = plan.mix(words)
    for row, length in enumerate((9, 7, 9)):
        # Without padding, the last token of transformers is the last of the text.
        alone = model(inputs_embeds=mixed[row : row + 1, :length]).logits
        assert torch.allclose(forward(model, data, plan)[row], alone[0], atol=1e-5)


def test_a_text_that_ends_with_the_padding_id_is_read_where_the_model_reads_it() -> None:
    model = classifier("gpt2", pad_token_id=2)  # the end of text pads, as GPT-2's users have it
    data = batch(model)
    data["input_ids"][torch.arange(3), data["attention_mask"].sum(dim=1) - 1] = 2
    require_site(model, data, ["embedding", "hidden:1", "pooled"])


def test_a_decoder_without_a_padding_token_is_refused() -> None:
    model = classifier("gpt2", pad_token_id=None)
    data = batch(model)
    with pytest.raises(TrainError, match=r"model\.config\.pad_token_id"):
        require_site(model, data, ["embedding"])
    with pytest.raises(TrainError, match=r"model\.config\.pad_token_id"):
        forward(model, data)


def test_mixing_between_layers_survives_gradient_checkpointing() -> None:
    model = classifier("bert", hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0).train()
    data = batch(model)
    plan = replace(WordMixup().plan(data["attention_mask"], partner=torch.tensor([1, 2, 0])), site="hidden:1")
    gradients = []
    for checkpointing in (False, True):
        if checkpointing:
            # transformers 5 calls it another name, and 4.57 knows only the old one.
            old = "gradient_checkpointing_enable"
            getattr(model, "activation_checkpointing_enable", getattr(model, old))({"use_reentrant": False})
        model.zero_grad()
        forward(model, data, plan).square().sum().backward()
        gradients.append([value.grad.clone() for value in model.parameters()])
    for plain, recomputed in zip(*gradients, strict=True):
        assert torch.allclose(plain, recomputed, atol=1e-5)


def test_a_loaded_decoder_knows_what_its_batches_are_padded_with(reviews: Path, tmp_path: Path) -> None:
    classifier("gpt2", vocab_size=300, pad_token_id=None).save_pretrained(tmp_path)
    manifest = RelevanceDataset(reviews).manifest
    model = load_classifier(str(tmp_path), ("bad", "good"), manifest)
    assert model.config.pad_token_id == manifest.pad_id
    require_site(model, batch(model), ["embedding", "hidden:1"])
