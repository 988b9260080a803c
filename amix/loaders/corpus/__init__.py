"""Text corpora: files, globs, folders in Hub layout and Hub data sets, as rows with text and label."""

from amix.loaders.corpus.corpus import Corpus, CorpusOptions, Row, open_corpus

__all__ = ["Corpus", "CorpusOptions", "Row", "open_corpus"]
