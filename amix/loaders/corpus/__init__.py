"""Text corpora: files, globs, folders in Hub layout and Hub data sets, as rows with text and label."""

from amix.loaders.corpus.corpus import Corpus, open_corpus
from amix.loaders.corpus.rows import CorpusOptions, Row

__all__ = ["Corpus", "CorpusOptions", "Row", "open_corpus"]
