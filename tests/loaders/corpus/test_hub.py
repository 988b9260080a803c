from typing import Any

import pytest
from datasets import ClassLabel, Dataset, Features, IterableDataset, List, Value

from amix.engine.base.errors import CorpusError
from amix.loaders.corpus import Corpus, CorpusOptions, open_corpus
from amix.loaders.corpus.hub import HubSource

IDENTITY: dict[str, object] = {
    "kind": "hub",
    "id": "some/data",
    "commit": "0" * 40,
    "config": None,
    "split": "train",
}


def corpus_of(stream: IterableDataset, **given: Any) -> Corpus:
    options = CorpusOptions(**given)
    return Corpus(HubSource("some/data", stream, IDENTITY, options), options)


def reviews(features: Features | None = None, **columns: list[Any]) -> IterableDataset:
    return Dataset.from_dict(columns, features=features).to_iterable_dataset()


def test_a_stream_gives_rows_with_the_names_of_its_class_label() -> None:
    features = Features(
        {"text": Value("string"), "label": ClassLabel(names=["neg", "pos"]), "id": Value("int64")}
    )
    texts = [f"row {number}" for number in range(50)]
    labels = [number % 3 - 1 for number in range(50)]
    corpus = corpus_of(reviews(features, text=texts, label=labels, id=list(range(50))))
    assert corpus.label_names == ("neg", "pos")
    rows = list(corpus.rows())
    assert [row.number for row in rows] == list(range(50))
    assert [(row.text, row.label) for row in rows[1:3]] == [("row 1", 0), ("row 2", 1)]
    assert rows[0].reject == "no label (-1)"
    for start in (0, 1, 49, 50):
        assert list(corpus.rows(start)) == rows[start:]


def test_limit_and_identity() -> None:
    corpus = corpus_of(reviews(text=["a", "b", "c"], label=["x", "y", "x"]), limit=2)
    assert [row.label for row in corpus.rows()] == [0, 1]
    assert corpus.identity == {
        **IDENTITY,
        "text_column": "text",
        "pair_column": None,
        "label_column": "label",
        "label_names": ["x", "y"],
        "limit": 2,
    }


def test_a_stream_without_features_is_looked_into() -> None:
    def rows() -> Any:
        yield {"text": "a", "label": 1}
        yield {"text": None, "label": 0}

    corpus = corpus_of(IterableDataset.from_generator(rows))
    assert corpus.label_names == ("0", "1")
    assert [row.reject for row in corpus.rows()] == [None, "text is missing"]


def test_a_key_may_come_late_in_a_stream_without_features() -> None:
    def rows() -> Any:
        yield from [{"text": "a"}] * 3
        yield from [{"text": "b", "label": 5}, {"text": "c", "label": 2}] * 2

    corpus = corpus_of(IterableDataset.from_generator(rows))
    assert corpus.label_names == ("2", "5")
    assert [row.label for row in corpus.rows()] == [None, None, None, 1, 0, 1, 0]


def test_numbers_under_given_names_are_read_once_to_see_where_they_count_from() -> None:
    stream = reviews(text=["a"] * 3, label=[1, 2, 3])
    with pytest.raises(CorpusError, match="the given names"):
        corpus_of(stream, labels=("one", "two", "three"))
    assert [row.label for row in corpus_of(stream, labels=("3", "1")).rows()] == [1, None, 0]


def test_a_list_of_class_labels_is_multi_label() -> None:
    features = Features({"text": Value("string"), "label": List(ClassLabel(names=["x", "y"]))})
    corpus = corpus_of(reviews(features, text=["a", "b", "c"], label=[[0, 1], [1], []]))
    assert (corpus.label_names, corpus.multi_label) == (("x", "y"), True)
    assert [row.labels for row in corpus.rows()] == [(1.0, 1.0), (0.0, 1.0), (0.0, 0.0)]


def test_wrong_columns_and_nested_text_are_errors() -> None:
    with pytest.raises(CorpusError, match=r"some/data: has no column 'text'. It has: sentence, label"):
        corpus_of(reviews(sentence=["a"], label=[0]))
    with pytest.raises(CorpusError, match=r"column 'text' holds List.*--text-column"):
        corpus_of(reviews(text=[["a"]], label=[0]))


def test_a_stream_that_breaks_off_is_an_error_that_names_the_row() -> None:
    def rows() -> Any:
        yield {"text": "a", "label": 1}
        yield {"text": "b", "label": 1}
        raise ConnectionError("reset by peer")

    corpus = corpus_of(IterableDataset.from_generator(rows), no_labels=True)
    with pytest.raises(CorpusError, match=r"ended with an error at row 2 .*reset by peer"):
        list(corpus.rows())


def test_an_empty_stream_is_an_error() -> None:
    with pytest.raises(CorpusError, match="holds no rows"):
        corpus_of(IterableDataset.from_generator(lambda: iter(())))


@pytest.mark.parametrize("name", ["nobody/nothing-here", "nothing-here"])
def test_a_name_that_is_neither_here_nor_on_the_hub(name: str) -> None:
    with pytest.raises(CorpusError, match=f"{name}: there is no such file or folder here, and no data set"):
        open_corpus(name, CorpusOptions())
