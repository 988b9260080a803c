"""Kinds of words, by an optional tagger."""

from collections.abc import Sequence

from amix.engine.base.errors import DependencyError
from amix.study.attention.analysis import Tagger


def open_tagger(language: str) -> Tagger:
    """Return a part-of-speech tagger (HanTa, Wartena 2019) for English (`en`), German (`de`) or Dutch (`nl`).

    Tags are those of the corpus that each was trained on: C5 of the British National Corpus for English, STTS for
    German.

    Raises DependencyError where it is not installed.
    """
    try:
        from HanTa.HanoverTagger import HanoverTagger
    except ImportError:
        raise DependencyError(
            "tagging words needs another package. Install it with: pip install 'attentionmix[pos]'"
        ) from None
    names = {"en": "morphmodel_en.pgz", "de": "morphmodel_ger.pgz", "nl": "morphmodel_dutch.pgz"}
    tagger = HanoverTagger(names[language])

    def tag(words: Sequence[str]) -> list[str]:
        return [str(kind) for _, _, kind in tagger.tag_sent(list(words))]

    return tag
