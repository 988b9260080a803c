"""Parts of speech, from an optional tagger."""

from collections.abc import Sequence

from amix.engine.base.errors import DependencyError
from amix.engine.base.installing import install
from amix.study.attention.analysis import Tagger
from amix.study.attention.language import Language

_MODELS: dict[Language, str] = {
    "en": "morphmodel_en.pgz",
    "de": "morphmodel_ger.pgz",
    "nl": "morphmodel_dutch.pgz",
}


def open_tagger(language: Language) -> Tagger:
    """Return a part-of-speech tagger (HanTa, Wartena 2019) for English, German or Dutch.

    Its tags are those of the corpus that it was trained on: C5 of the British National Corpus for English, STTS for
    German. Raises DependencyError where it is not installed.
    """
    try:
        from HanTa.HanoverTagger import HanoverTagger
    except ImportError:
        raise DependencyError(
            f"Tagging words needs another package. Install it with: {install('pos')}"
        ) from None
    tagger = HanoverTagger(_MODELS[language])

    def tag(words: Sequence[str]) -> list[str]:
        return [str(kind) for _, _, kind in tagger.tag_sent(list(words))]

    return tag
