import pytest

from amix.engine.base.errors import CorpusError
from amix.loaders.precompute.rejects import Rejects, commonest, tolerated
from amix.loaders.shards.records import Reject


@pytest.mark.parametrize(
    ("limit", "rows", "most"),
    [
        (None, 0, 10),
        (None, 1000, 10),
        (None, 1999, 19),
        (5, 10**6, 5),
        (0, 50, 0),
        (0.02, 149, 2),
        (0.0, 9, 0),
    ],
)
def test_what_is_tolerated_is_a_number_or_a_share(limit: int | float | None, rows: int, most: int) -> None:
    assert tolerated(limit, rows) == most


def test_reasons_that_differ_by_place_and_values_are_one_kind() -> None:
    rejects = [
        Reject(4, "line 6: not UTF-8 (0xe9 at byte 11)"),
        Reject(2, "file 2, line 3: not UTF-8 (0xff at byte 1)"),
        Reject(9, "unknown label 'it\\'s'; known are: a, b"),
        Reject(8, "unknown label 'x'; known are: a, b"),
        Reject(7, 'unknown label "it\'s"; known are: a, b'),
        Reject(1, "text is empty"),
        Reject(30, "lines 2 to 3: a stray quote (write it twice inside a field)"),
    ]
    assert commonest(rejects) == [
        '3 x unknown label "it\'s"; known are: a, b (first: row 7)',
        "2 x not UTF-8 (0xff at byte 1) (first: row 2, file 2, line 3)",
        "1 x text is empty (first: row 1)",
        "1 x a stray quote (write it twice inside a field) (first: row 30, lines 2 to 3)",
    ]
    assert commonest(rejects, most=1)[1:] == ["4 x others"]


def test_a_share_waits_for_the_number_of_rows_where_it_is_unknown() -> None:
    rejects = [Reject(row, "text is empty") for row in range(11)]
    known = Rejects("a.csv", None, 1000)
    known.add(rejects[:10])
    with pytest.raises(
        CorpusError, match=r"a\.csv: 11 rows cannot be used, more than the 10 of 1,000 that are tolerated"
    ):
        known.add(rejects[10:])
    unknown = Rejects("a.csv", None, None)
    unknown.add(rejects)
    unknown.finish(1100)
    with pytest.raises(CorpusError, match="more than the 10 of 1,099"):
        unknown.finish(1099)


def test_the_remedy_is_said_with_the_reasons() -> None:
    rejects = Rejects("a.csv", 0, 10, lambda reasons: f"Read {', '.join(reasons)}.")
    with pytest.raises(CorpusError, match=r"--max-rejects is 0.*1 x not UTF-8.*Read line 3: not UTF-8\."):
        rejects.add([Reject(1, "line 3: not UTF-8")])
