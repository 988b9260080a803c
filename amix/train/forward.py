"""A plan applied inside a model: the only code that knows how models take their inputs.

Axes: B batch, T tokens, D width, C classes.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from amix.engine.errors import TrainError
from amix.engine.plan import Plan
from amix.train.classifier import takes_token_types


def forward(model: Any, batch: Mapping[str, Any], plan: Plan | None = None) -> Tensor:  # noqa: ANN401
    """Return the logits of a batch, (B, C), mixed as `plan` says; None or an identity mixes nothing.

    model: a transformers sequence classifier.  batch: a loader's, on the model's device, as is the plan.
    Labels are never passed. Families that count positions from the ids (RoBERTa) count the same from
    embeddings, because loaders pad on the right.
    """
    inputs: dict[str, Tensor] = {}
    types = batch.get("token_type_ids") if takes_token_types(model) else None
    if plan is None or plan.is_identity:
        inputs["input_ids"] = batch["input_ids"]
        inputs["attention_mask"] = batch["attention_mask"]
        if types is not None:
            inputs["token_type_ids"] = types
    else:
        words_BTD = model.get_input_embeddings()(batch["input_ids"])
        inputs["inputs_embeds"] = plan.mix(words_BTD)
        inputs["attention_mask"] = plan.attention_mask
        if types is not None:
            inputs["token_type_ids"] = plan.mix_token_types(types)
    logits_BC: Tensor = model(**inputs).logits
    return logits_BC


@torch.no_grad()
def require_embedding_site(model: Any, batch: Mapping[str, Any]) -> None:  # noqa: ANN401
    """Raise TrainError unless word embeddings passed to the model do what its token ids do.

    A model that scales, projects or ignores `inputs_embeds` would be trained on something else in silence.
    batch: real samples of different lengths, on the model's device.
    """
    was_training = model.training
    model.eval()
    try:
        types = {"token_type_ids": batch["token_type_ids"]} if "token_type_ids" in batch else {}
        inputs = {"attention_mask": batch["attention_mask"], **(types if takes_token_types(model) else {})}
        by_ids = model(input_ids=batch["input_ids"], **inputs).logits
        by_words = model(inputs_embeds=model.get_input_embeddings()(batch["input_ids"]), **inputs).logits
    except (TypeError, ValueError, NotImplementedError) as problem:
        raise TrainError(
            f"{type(model).__name__} takes no word embeddings ({problem}); train it with --method none."
        ) from None
    finally:
        model.train(was_training)
    if not torch.allclose(by_ids, by_words, rtol=1e-3, atol=1e-4):
        worst = float((by_ids - by_words).abs().max())
        raise TrainError(
            f"{type(model).__name__}: token ids and their word embeddings give different logits (up to "
            f"{worst:.3g}), so mixing at the embeddings would train another model. Use --method none."
        )
