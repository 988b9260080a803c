"""A plan applied inside a model: the only code that knows how models take their inputs.

Axes: B batch, T tokens, D width, C classes.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from amix.engine.base.errors import TrainError
from amix.engine.extractor.pretrained import quiet_transformers
from amix.engine.mixing.plan import Plan
from amix.engine.mixing.site import hidden_layer
from amix.loaders.stream.batch import Batch
from amix.train.model.classifier import Classifier, Model, Output, takes_token_types
from amix.train.model.hidden import mixed_between_layers, require_depth
from amix.train.model.network import (
    Inputs,
    linear_head,
    pad_id,
    require_whole_batch,
    scoring_only,
    takes,
    token_head,
    uncompiled,
    unwrapped,
)


def forward(model: Model, batch: Batch, plan: Plan | None = None) -> Tensor:
    """Return the logits of a batch, (B, C), mixed as `plan` says; None or an identity mixes nothing.

    model: a transformers sequence classifier, as it is or wrapped (DistributedDataParallel, torch.compile).
    batch: a loader's, on the model's device, as is the plan.
    Labels are never passed. Positions are those of the plain rows at every site, because loaders pad on the
    right; families that count them from the ids (RoBERTa) count the same from embeddings.
    Raises TrainError for a site that the model does not have; `require_site` finds that out beforehand.
    """
    network = unwrapped(model)
    inputs: Inputs = {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}
    if "token_type_ids" in batch and takes_token_types(network):
        inputs["token_type_ids"] = batch["token_type_ids"]
    if takes(network, "use_cache"):
        inputs["use_cache"] = False  # a decoder would keep keys and values for a next token
    head = token_head(network)
    if head is not None and len(batch["input_ids"]) > 1:
        pad_id(network)
    if plan is None or plan.is_identity:
        return model(**inputs).logits
    if plan.site == "pooled":
        if linear_head(network) is None:
            raise _no_linear_end(network)
        # The last layer is linear, w (a x + b y) + c = a (w x + c) + b (w y + c) with a + b = 1: mixing its
        # outputs is mixing its inputs, in every family and whatever becomes the pooled vector.
        return plan.mix(model(**inputs).logits.float())
    if head is None:
        return _mixed(model, network, inputs, plan).logits
    require_whole_batch(model, "mixing in a decoder-style classifier")
    with uncompiled(model), scoring_only(head, _last_token(batch["input_ids"], pad_id(network), plan)):
        return _mixed(model, network, inputs, plan).logits


def _mixed(model: Model, network: Classifier, inputs: Inputs, plan: Plan) -> Output:
    """Return the model's output for rows mixed at a site below the pooled vector."""
    layer = hidden_layer(plan.site)
    if layer is not None:
        require_whole_batch(model, f"mixing at {plan.site}")
        return mixed_between_layers(model, inputs, plan, layer)
    if plan.site != "embedding":
        raise TrainError(f"a plan has the site '{plan.site}'; it must be embedding, hidden:K or pooled.")
    if "token_type_ids" in inputs:
        inputs["token_type_ids"] = plan.mix_token_types(inputs["token_type_ids"])
    words_BTD = network.get_input_embeddings()(inputs.pop("input_ids"))
    inputs["inputs_embeds"], inputs["attention_mask"] = plan.mix(words_BTD), plan.attention_mask
    return model(**inputs)


def _last_token(ids_BT: Tensor, pad: int, plan: Plan) -> Tensor:
    """Return the last position, (B,), where a mixed row has a token of either side.

    A token is what the model's own rule takes for one, any id but the padding's, so that training and later
    use look at the same place even where texts end with the padding's id (GPT-2's end of text).
    """
    token_BT = ids_BT != pad
    other_BT = token_BT[plan.partner[:, None], plan.source] & (plan.ratio < 1)
    mixed_BT = ((token_BT & (plan.ratio > 0)) | other_BT) & plan.attention_mask.bool()
    return (mixed_BT * torch.arange(mixed_BT.shape[1], device=mixed_BT.device)).argmax(dim=1)


def require_site(model: Model, batch: Batch, sites: Sequence[str]) -> None:
    """Raise TrainError unless every one of `sites` can be mixed at in this model.

    It is tried with two plans whose outcome is known: a row mixed with itself stays itself, and a row of which
    nothing is left becomes its partner. A model that scales or ignores the embeddings it is given, or reads the
    token ids elsewhere, would silently be trained on something else.
    batch: real samples of different lengths, two or more, on the model's device.
    """
    was_training = model.training
    model.eval()
    try:
        # Quiet, because decoders warn once that embeddings have no padding, which is taken care of here.
        with torch.no_grad(), quiet_transformers():
            plain_BC = forward(model, batch)
            for site in dict.fromkeys(sites):
                _require(model, batch, site, plain_BC)
    finally:
        model.train(was_training)


def _require(model: Model, batch: Batch, site: str, plain_BC: Tensor) -> None:
    network = unwrapped(model)
    layer = hidden_layer(site)
    if layer is not None:
        require_depth(network, layer)
    if site == "pooled":
        _require_linear_end(model, network, batch, plain_BC)
    mask_BT = batch["attention_mask"].long()
    row_B = torch.arange(len(mask_BT), device=mask_BT.device)
    for partner_B, weight in ((row_B, 0.5), (row_B.roll(1), 0.0)):
        try:
            found_BC = forward(model, batch, _even_plan(mask_BT, partner_B, weight, site))
        except (TypeError, ValueError, NotImplementedError) as problem:
            raise _refused(network, site, f"it does not take such inputs ({problem})") from None
        worst = float((found_BC.float() - plain_BC[partner_B].float()).abs().max())
        if not worst <= _tolerance(plain_BC):
            what = "mixed with itself" if weight else "replaced by another"
            raise _refused(network, site, f"a text {what} gives different logits (by {worst:.2g})")


def _even_plan(mask_BT: Tensor, partner_B: Tensor, weight: float, site: str) -> Plan:
    straight_BT = torch.arange(mask_BT.shape[1], device=mask_BT.device).expand_as(mask_BT)
    return Plan(
        partner=partner_B,
        ratio=torch.full(mask_BT.shape, weight, device=mask_BT.device),
        source=straight_BT,
        label_weight=torch.full((len(mask_BT),), weight, device=mask_BT.device),
        attention_mask=mask_BT if weight else mask_BT[partner_B],
        site=site,
    )


def _tolerance(logits_BC: Tensor) -> float:
    """Return how far rounding may move logits; a real disagreement is about as large as their spread over rows."""
    share = 1e-3 if logits_BC.dtype in (torch.float32, torch.float64) else 5e-2
    spread = float((logits_BC.amax(dim=0) - logits_BC.amin(dim=0)).float().max())
    return max(1e-6 + share * float(logits_BC.float().abs().max()), 0.02 * spread)


def _require_linear_end(model: Model, network: Classifier, batch: Batch, plain_BC: Tensor) -> None:
    head = linear_head(network)
    returned: list[Tensor] = []
    if head is not None:
        handle = head.register_forward_hook(lambda module, args, output: returned.append(output))
        try:
            with uncompiled(model):
                forward(model, batch)
        finally:
            handle.remove()
    # A head that scores every token returns one row per token, and the logits are one of these rows.
    rows = [output.reshape(len(plain_BC), -1, plain_BC.shape[1]) for output in returned]
    if not rows or not torch.isclose(rows[-1], plain_BC[:, None]).all(dim=2).any(dim=1).all():
        raise _no_linear_end(network)


def _no_linear_end(network: Classifier) -> TrainError:
    return TrainError(
        f"{type(network).__name__} does not end in a linear layer. --method sentencemixup mixes what enters that "
        "layer, so it cannot be used with this model. Use another method."
    )


def _refused(network: Classifier, site: str, why: str) -> TrainError:
    kind, name = network.config.model_type, type(network).__name__
    if site == "embedding":
        return TrainError(
            f"{name} ({kind}) cannot be mixed at level=embedding: {why}. It has to take word embeddings "
            "(inputs_embeds) for its token ids. Use --method none, or level=hidden:K."
        )
    other = "level=embedding" if site != "pooled" else "another method"
    return TrainError(f"{name} ({kind}) cannot be mixed at {site}: {why}. Use {other}.")
