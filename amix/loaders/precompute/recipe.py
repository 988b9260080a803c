"""What decides the bytes of a cache that is computed from a corpus."""

from collections.abc import Mapping, Sequence

from amix.engine.extractor.folder import Backend, Extractor
from amix.loaders.corpus import Corpus, CorpusOptions
from amix.loaders.precompute.options import PrecomputeOptions
from amix.loaders.shards.layout import Layout
from amix.loaders.shards.recipe import Recipe
from amix.loaders.shards.tokenizer import TOKENIZER, TokenizerFile


def recipe_of(
    extractor: Extractor,
    corpus: Corpus,
    corpus_options: CorpusOptions,
    options: PrecomputeOptions,
    *,
    head_indices: Sequence[int],
    backend: Backend,
    environment: Mapping[str, str],
) -> Recipe:
    """Return the recipe of a run.

    head_indices: heads to store, as positions among those of the extractor.  environment: where units are computed.
    """
    return Recipe.of(
        heads=[extractor.heads[index] for index in head_indices],
        layout=_layout(extractor, corpus, corpus_options, options, len(head_indices)),
        max_length=min(options.max_length, extractor.max_length),
        label_names=corpus.label_names,
        samples_per_shard=options.samples_per_shard,
        extractor=extractor_in_recipe(extractor, backend),
        corpus=corpus.identity,
        environment=dict(environment),
    )


def extractor_in_recipe(extractor: Extractor, backend: Backend) -> dict[str, object]:
    """Return what a recipe says about an extractor."""
    return {
        "fingerprint": extractor.fingerprint,
        "graph_sha256": extractor.graph_sha256[backend],
        "tokenizer_sha256": extractor.files[TOKENIZER],
        "special_ids": list(extractor.special_ids),
        "pad_id": extractor.pad_id,
    }


def tokenizer_of(extractor: Extractor) -> TokenizerFile:
    """Return the tokenizer of an extractor, as a cache holds it."""
    return TokenizerFile.of(
        (extractor.folder / TOKENIZER).read_bytes(),
        fingerprint=extractor.tokenizer_fingerprint,
        special_ids=extractor.special_ids,
        pad_id=extractor.pad_id,
        vocab_size=extractor.vocab_size,
    )


def _layout(
    extractor: Extractor,
    corpus: Corpus,
    corpus_options: CorpusOptions,
    options: PrecomputeOptions,
    heads: int,
) -> Layout:
    labelled = corpus.label_names is not None
    return Layout(
        heads=heads,
        dtype=options.dtype,
        wide_ids=extractor.vocab_size > 2**16,
        token_types=corpus_options.pair_column is not None and "token_type_ids" in extractor.inputs,
        classes=len(corpus.label_names or ()) if corpus.multi_label else 0,
        cls=labelled and not corpus.multi_label,
        text=options.keep_text,
    )
