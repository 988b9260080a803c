"""The head specs that `--heads` names to be compared."""

from collections.abc import Sequence

from amix.engine.base.errors import HeadError, TrainError
from amix.engine.base.heads import Head, HeadSpec, candidate_specs
from amix.study.shards import read_manifest


def compared_specs(text: str, caches: Sequence[str], online: str | None = None) -> list[HeadSpec]:
    """Return the head specs that `--heads` names, for caches that must all hold them.

    online: a model whose heads are used instead of those in the caches (relevance_source online).
    Raises HeadError for a head that the model or one of the caches does not have.
    """
    if text.strip() == "auto" or "|" in text:
        raise HeadError(
            f"--heads {text}: auto and specs that take turns (0.8|1.mean) are options of a method. Write them into a "
            "YAML file, under the method's label as 'head:'."
        )
    if online is not None:
        return candidate_specs(text, _heads_of(online), "the model")
    found = [candidate_specs(text, read_manifest(cache).heads, cache) for cache in caches]
    # `0` and `all` can stand for different heads in different caches. Only heads that every cache holds are compared.
    shared = [spec for spec in found[0] if all(spec in specs for specs in found)]
    if not shared:
        raise HeadError(
            f"--heads {text}: {', '.join(caches)} have none of these heads in common. Name others."
        )
    return shared


def _heads_of(model: str) -> list[Head]:
    from amix.engine.extractor.pretrained import folder_of, load_error, open_config, quiet_transformers

    with quiet_transformers():
        try:
            config = open_config(str(folder_of(model) or model))
            layers, heads = int(config.num_hidden_layers), int(config.num_attention_heads)
        except Exception as problem:  # a dozen types, from no network to a model without attention
            what = "the number of its layers and heads is not known"
            raise load_error(TrainError, model, what, problem) from None
    return [(layer, head) for layer in range(layers) for head in range(heads)]
