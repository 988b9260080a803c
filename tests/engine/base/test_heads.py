import pytest
from hypothesis import given
from hypothesis import strategies as st

from amix.engine.base.errors import HeadError
from amix.engine.base.heads import HeadSpec, describe, select_heads

HEADS = [(layer, head) for layer in range(2) for head in range(3)]
item = st.one_of(
    st.tuples(st.integers(0, 99), st.one_of(st.none(), st.integers(0, 99))), st.just((None, None))
)


@given(st.lists(item, min_size=1, max_size=5, unique=True))
def test_printing_and_parsing_are_inverse(items):
    spec = HeadSpec(tuple(items))
    assert HeadSpec.parse(str(spec)) == spec


@pytest.mark.parametrize(
    ("text", "indices"),
    [
        ("0.2", [2]),
        ("1.mean", [3, 4, 5]),
        ("mean", [0, 1, 2, 3, 4, 5]),
        ("1.0,0.1", [1, 3]),
        (" 0.0 , 1.2 ", [0, 5]),
    ],
)
def test_specs_name_positions(text, indices):
    assert HeadSpec.parse(text).indices(HEADS) == indices


def test_positions_follow_what_the_cache_holds():
    assert HeadSpec.parse("1.2").indices([(1, 2), (0, 0)]) == [0]


@pytest.mark.parametrize(
    "text", ["", "0", "0.x", "-1.0", "0.8,", "0.8,0.8", "0.8;1.3", "٣.1", "all", "0.1.2"]
)
def test_nonsense_is_refused_with_the_grammar(text):
    with pytest.raises(HeadError, match="head spec"):
        HeadSpec.parse(text)


def test_a_missing_head_is_refused_with_what_there_is():
    with pytest.raises(
        HeadError, match=r"head '5\.1': shards does not hold it. It holds layers 0, 1: heads 0-2"
    ):
        HeadSpec.parse("0.1,5.1").indices(HEADS, "shards")


@pytest.mark.parametrize(
    ("text", "indices"), [("all", [0, 1, 2, 3, 4, 5]), ("1", [3, 4, 5]), ("1.0,0", [0, 1, 2, 3])]
)
def test_sets_of_heads(text, indices):
    assert select_heads(text, HEADS) == indices


@pytest.mark.parametrize("text", ["", "mean", "0.mean", "7", "0.9"])
def test_sets_that_are_none_are_refused(text):
    with pytest.raises(HeadError, match="--heads"):
        select_heads(text, HEADS)


def test_description_is_short():
    assert describe([(0, 0), (0, 1), (0, 2), (3, 1), (3, 7)]) == "layer 0: heads 0-2; layer 3: heads 1, 7"
    assert describe([(layer, head) for layer in range(6) for head in range(12)]) == "layers 0-5: heads 0-11"
