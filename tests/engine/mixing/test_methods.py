"""What every method owes: the table of docs/methods.md, a test per column and a method per row."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from amix.engine.base.errors import MixingError, UsageError
from amix.engine.mixing.attentionmix import AttentionMix
from amix.engine.mixing.choices import LabelWeight, PartnerChoice
from amix.engine.mixing.mixer import Mixer, NoMix
from amix.engine.mixing.pairmix import SentenceMixup, TMix, WordMixup
from amix.engine.mixing.plan import Plan
from amix.engine.mixing.ssmix import SSMix
from tests.engine.mixing import oracle
from tests.engine.mixing.strategies import Sample, batches

METHODS: dict[str, Mixer] = {
    "none": NoMix(),
    "wordmixup": WordMixup(),
    "sentencemixup": SentenceMixup(),
    "tmix": TMix(),
    "ssmix": SSMix(span_share=0.4),
    "attentionmix": AttentionMix(),
    "attentionmix-hidden": AttentionMix(level="hidden:2"),
}
MIXING = {name: mixer for name, mixer in METHODS.items() if name != "none"}
TOKENS = {name: mixer for name, mixer in MIXING.items() if name != "sentencemixup"}  # that mix at tokens
every_method = pytest.mark.parametrize("method", METHODS)
every_mixing = pytest.mark.parametrize("method", MIXING)
every_token_method = pytest.mark.parametrize("method", TOKENS)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def plan_of(method: str, batch: Sample, seed: int = 0) -> Plan:
    """The plan of a method, which takes the one of relevance and saliency that it needs."""
    mask, content, relevance, partner = batch
    return METHODS[method].plan(
        mask,
        relevance=relevance,
        saliency=relevance,
        content=content,
        partner=partner,
        generator=generator(seed),
    )


def mixer_of(method: str, **options: Any) -> Mixer:
    """A mixer of a method with other options."""
    if method == "attentionmix-hidden":
        options["level"] = "hidden:2"
    return type(METHODS[method])(**options)


def number_per_token(mask: Tensor) -> Tensor:
    return torch.randn(mask.shape, generator=generator(9), dtype=torch.float64).float()


@every_method
@given(batch=batches(), seed=st.integers(0, 50))
def test_formula(method: str, batch: Sample, seed: int) -> None:
    """Equal to a loop over Python floats, written from the paper."""
    plan = plan_of(method, batch, seed)
    mask, content, relevance, partner = (tensor.tolist() for tensor in batch)
    source = [list(range(len(row))) for row in mask]
    # Drawn ones are taken as they are; their distribution has its own test.
    weight = plan.label_weight.tolist()
    match method:
        case "none" | "sentencemixup":
            ratio = [[1.0] * len(row) for row in mask]
            partner = list(range(len(mask))) if method == "none" else partner
        case "wordmixup" | "tmix":
            ratio = oracle.pair_ratio(mask, partner, weight)
        case "ssmix":
            ratio, source, weight = oracle.ssmix(content, relevance, partner, 0.4)
        case _:
            ratio, weight = oracle.attentionmix(mask, content, relevance, partner)
    for found, wanted in ((plan.label_weight, weight), (plan.ratio, ratio)):
        torch.testing.assert_close(found, torch.tensor(wanted, dtype=torch.float32), rtol=0, atol=2e-5)
    x = number_per_token(batch[0])
    expected = torch.tensor(oracle.mix(x.tolist(), ratio, partner, source), dtype=torch.float32)
    torch.testing.assert_close(plan.mix(x[:, :, None])[:, :, 0], expected, rtol=0, atol=1e-4)


@every_method
@given(batch=batches(), seed=st.integers(0, 50))
def test_bounds(method: str, batch: Sample, seed: int) -> None:
    plan = plan_of(method, batch, seed)
    for values in (plan.ratio, plan.label_weight):
        assert bool(((values >= 0) & (values <= 1)).all())
    mask = batch[0]
    assert plan.ratio.shape == plan.source.shape == plan.attention_mask.shape == mask.shape
    assert plan.label_weight.shape == plan.partner.shape == mask.shape[:1]
    assert bool(((plan.source >= 0) & (plan.source < mask.shape[1])).all())
    assert plan.site in METHODS[method].sites


@every_method
@given(batch=batches())
def test_identity(method: str, batch: Sample) -> None:
    """Mixed with itself, a row keeps its vectors, its mask and its label; SSMix only moves its own words."""
    mask, content, relevance, _ = batch
    itself = torch.arange(len(mask))
    plan = plan_of(method, (mask, content, relevance, itself))
    x = torch.randn(*mask.shape, 3)
    if method != "ssmix":
        assert torch.equal(plan.mix(x), x)
    assert torch.equal(plan.mix(x[:, 0]), x[:, 0])
    assert torch.equal(plan.attention_mask, mask)
    assert torch.equal(plan.mix_labels(itself, len(mask)), torch.eye(len(mask)))


@every_method
@pytest.mark.parametrize("p", [1.0, 0.5])
def test_label_partner(method: str, p: float) -> None:
    """Input and label have the same partner: a second permutation for the labels would show here."""
    rows, tokens = 8, 10
    mixer = NoMix() if method == "none" else mixer_of(method, p=p)
    relevance = torch.rand(rows, tokens)
    plan = mixer.plan(
        torch.ones(rows, tokens, dtype=torch.long),
        relevance=relevance,
        saliency=relevance,
        generator=generator(5),
    )
    one_hot = torch.eye(rows)  # as the vectors of the rows, so that a mixed row shows its parts
    if plan.site == "pooled":
        parts = plan.mix(one_hot)
    else:
        parts = plan.mix(one_hot[:, None, :].expand(rows, tokens, rows)).mean(dim=1)
    torch.testing.assert_close(parts, plan.mix_labels(torch.arange(rows), rows), rtol=0, atol=1e-5)
    assert plan.is_identity == (method == "none")


@every_token_method
@given(batch=batches(), seed=st.integers(0, 50))
def test_padding(method: str, batch: Sample, seed: int) -> None:
    """No real token is mixed with padding: one that faces padding is itself."""
    mask, _, _, partner = batch
    plan = plan_of(method, batch, seed)
    x = torch.where(mask.bool(), number_per_token(mask), torch.nan)  # NaN would spread through any mixing
    mixed = plan.mix(x.nan_to_num(1e6)[:, :, None])[:, :, 0]
    real = plan.attention_mask.bool()
    assert bool((mixed[real].abs() < 1e4).all())
    alone = (
        mask.bool() & ~mask[partner].bool() & (plan.source == torch.arange(mask.shape[1])) & (plan.ratio > 0)
    )
    assert torch.equal(mixed[alone], x[alone])


@every_method
@given(batch=batches(), seed=st.integers(0, 50))
def test_mask(method: str, batch: Sample, seed: int) -> None:
    """The mask is the OR of both where tokens of both are in the row, the row's own where length is kept."""
    mask, _, _, partner = batch
    plan = plan_of(method, batch, seed)
    keeps_its_length = method in ("none", "sentencemixup", "ssmix")
    expected = mask if keeps_its_length else mask | mask[partner]
    assert torch.equal(plan.attention_mask, expected)


@every_method
@given(batch=batches(), extra=st.integers(1, 4))
def test_padding_invariance(method: str, batch: Sample, extra: int) -> None:
    """More padding changes nothing."""
    mask, content, relevance, partner = batch

    def pad(tensor: Tensor) -> Tensor:
        return torch.nn.functional.pad(tensor, (0, extra))

    plan = plan_of(method, batch, 3)
    wide = plan_of(method, (pad(mask), pad(content), pad(relevance), partner), 3)
    tokens = mask.shape[1]
    torch.testing.assert_close(wide.label_weight, plan.label_weight, rtol=0, atol=1e-6)
    torch.testing.assert_close(wide.ratio[:, :tokens], plan.ratio, rtol=0, atol=1e-6)
    assert torch.equal(wide.source[:, :tokens], plan.source)
    assert not bool(wide.attention_mask[:, tokens:].any())


@every_method
@given(rows=st.integers(2, 9), seed=st.integers(0, 1000))
@settings(max_examples=25)
def test_reproducible(method: str, rows: int, seed: int) -> None:
    """One generator, one plan; the global generator is not touched."""
    mask, relevance = torch.ones(rows, 4, dtype=torch.long), torch.rand(rows, 4)
    before = torch.random.get_rng_state()
    one, two = (
        METHODS[method].plan(mask, relevance=relevance, saliency=relevance, generator=generator(seed))
        for _ in range(2)
    )
    for name in ("partner", "ratio", "source", "label_weight", "attention_mask"):
        assert torch.equal(getattr(one, name), getattr(two, name))
    assert one.site == two.site
    assert torch.equal(torch.random.get_rng_state(), before)


@every_mixing
@given(rows=st.integers(2, 8), p=st.floats(0, 1), seed=st.integers(0, 1000))
@settings(max_examples=25)
def test_left_out(method: str, rows: int, p: float, seed: int) -> None:
    """Rows that `p` leaves out stay themselves, vectors, mask and label."""
    mask = (torch.arange(6) < torch.arange(rows)[:, None] + 1).long()
    relevance = torch.rand(rows, 6) + 0.1
    plan = mixer_of(method, p=p).plan(
        mask, relevance=relevance, saliency=relevance, generator=generator(seed)
    )
    alone = plan.partner == torch.arange(rows)
    x = torch.randn(rows, 6, 2)
    assert torch.equal(plan.mix(x)[alone], x[alone])
    assert torch.equal(plan.attention_mask[alone], mask[alone])
    assert bool((plan.label_weight[alone] == 1).all())
    assert plan.is_identity == bool(alone.all())


@every_mixing
def test_gradient(method: str) -> None:
    """Gradients reach both sides, each by its weight."""
    mask = torch.ones(2, 4, dtype=torch.long)
    plan = plan_of(method, (mask, mask.bool(), torch.rand(2, 4) + 0.1, torch.tensor([1, 0])), 4)
    x = torch.zeros((2, 1) if plan.site == "pooled" else (2, 4, 1), requires_grad=True)
    plan.mix(x)[0].sum().backward()
    own = plan.label_weight[0] if plan.site == "pooled" else plan.ratio[0].sum()
    whole = 1 if plan.site == "pooled" else 4
    assert x.grad is not None
    torch.testing.assert_close(x.grad.flatten(1).sum(dim=1), torch.stack([own, whole - own]))


@every_mixing
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_dtype(method: str, dtype: torch.dtype) -> None:
    """Vectors keep their dtype, and the argument is not changed."""
    mask = torch.ones(2, 4, dtype=torch.long)
    plan = plan_of(method, (mask, mask.bool(), torch.rand(2, 4), torch.tensor([1, 0])), 4)
    x = torch.randn((2, 3) if plan.site == "pooled" else (2, 4, 3)).to(dtype)
    before = x.clone()
    assert plan.mix(x).dtype == dtype
    assert torch.equal(x, before)


@every_mixing
def test_token_ids(method: str) -> None:
    """Token ids are never mixed, and label ids never become fractions of ids."""
    mask = torch.ones(2, 4, dtype=torch.long)
    plan = plan_of(method, (mask, mask.bool(), torch.rand(2, 4), torch.tensor([1, 0])))
    with pytest.raises(MixingError, match="token ids are names"):
        plan.mix(torch.randint(9, (2, 4, 1)))
    assert plan.mix_labels(torch.tensor([2, 0]), 3).shape == (2, 3)


@given(batch=batches(min_rows=2, max_rows=2), label_weight=st.sampled_from(["ratio", "mass"]))
@pytest.mark.parametrize("level", ["embedding", "hidden:2"])
def test_swap(level: str, batch: Sample, label_weight: LabelWeight) -> None:
    """Swapping the sides gives the same mixed sample and the same soft label, also with random special vectors."""
    mask, content, relevance, _ = batch
    plan = AttentionMix(label_weight=label_weight, level=level).plan(
        mask, relevance=relevance, content=content, partner=torch.tensor([1, 0])
    )
    mixed = plan.mix(torch.randn(*mask.shape, 3))
    somewhere = plan.attention_mask[0].bool()
    torch.testing.assert_close(mixed[0][somewhere], mixed[1][somewhere], rtol=0, atol=1e-5)
    targets = plan.mix_labels(torch.tensor([0, 1]), 2)
    torch.testing.assert_close(targets[0], targets[1], rtol=0, atol=1e-5)
    assert torch.equal(plan.attention_mask[0], plan.attention_mask[1])


@every_mixing
@pytest.mark.parametrize("choice", ["random", "other-class", "same-class", "similar-length"])
def test_partner_choice(method: str, choice: PartnerChoice) -> None:
    mixer = mixer_of(method, partner=choice)
    lengths = torch.tensor([3, 8, 4, 7, 2, 2])
    mask = (torch.arange(8) < lengths[:, None]).long()
    labels = torch.tensor([0, 0, 1, 1, 1, 2])
    extra = {"labels"} if "class" in choice else set()
    assert mixer.needs == mixer.reads | extra
    ones = torch.ones(6, 8)
    plan = mixer.plan(mask, relevance=ones, saliency=ones, labels=labels, generator=generator(2))
    others = labels[plan.partner]
    match choice:
        case "other-class":
            assert bool((others != labels).all())
        case "same-class":
            assert torch.equal(others, labels)
            assert plan.partner[5] == 5  # the only one of its class stays unmixed, and is counted
            assert plan.unpaired == 1
            assert plan.label_weight[5] == 1
        case "similar-length":
            assert bool(((lengths[plan.partner] - lengths).abs() <= 1).all())
    if choice != "same-class":
        assert plan.unpaired == 0
        assert not bool((plan.partner == torch.arange(6)).any())


@every_mixing
@pytest.mark.parametrize("option", [{"p": 1.5}, {"p": float("nan")}, {"partner": "nearest"}])
def test_options_out_of_range_are_refused_by_name(method: str, option: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(option))):
        type(METHODS[method])(**option)


BAD_NUMBERS = [
    (torch.ones(2, 4), r"has shape \(2, 4\), attention_mask \(2, 3\)"),
    (torch.tensor([[1.0, float("nan"), 1.0]] * 2), "holds NaN, infinite or negative"),
    (torch.tensor([[1.0, -0.1, 1.0]] * 2), "holds NaN, infinite or negative"),
    (torch.tensor([[1.0, float("inf"), 1.0]] * 2), "holds NaN, infinite or negative"),
]


def test_saliency_that_is_not_finite_is_told_as_divergence() -> None:
    saliency = torch.tensor([[1.0, float("nan"), 1.0]] * 2)
    with pytest.raises(MixingError, match=r"saliency holds NaN.*the model has diverged"):
        METHODS["ssmix"].plan(torch.ones(2, 3, dtype=torch.long), saliency=saliency)


@pytest.mark.parametrize("method", ["attentionmix", "attentionmix-hidden"])
@pytest.mark.parametrize(
    ("relevance", "message"),
    [
        (None, r"attentionmix needs relevance: pass relevance=batch\['relevance'\]"),
        *((value, f"relevance {message}") for value, message in BAD_NUMBERS),
        (torch.ones(2, 2, 4), r"relevance has shape \(2, 4\)"),
        (torch.ones(2, 0, 3), r"relevance is \(batch, 0, tokens\); it must hold at least one head spec"),
    ],
)
def test_relevance_that_cannot_be_used_is_refused(
    method: str, relevance: Tensor | None, message: str
) -> None:
    with pytest.raises(MixingError, match=message):
        METHODS[method].plan(
            torch.ones(2, 3, dtype=torch.long), relevance=relevance, saliency=torch.ones(2, 3)
        )


@pytest.mark.parametrize(
    ("saliency", "message"),
    [
        (None, "ssmix needs the saliency of every token: pass saliency="),
        *((value, f"saliency {message}") for value, message in BAD_NUMBERS),
        (torch.ones(2, 2, 3), r"saliency has shape \(2, 2, 3\)"),
    ],
)
def test_saliency_that_cannot_be_used_is_refused(saliency: Tensor | None, message: str) -> None:
    with pytest.raises(MixingError, match=message):
        SSMix().plan(torch.ones(2, 3, dtype=torch.long), relevance=torch.ones(2, 3), saliency=saliency)
