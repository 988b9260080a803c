import pytest
from hypothesis import given
from hypothesis import strategies as st

from amix.engine.base.errors import HeadError
from amix.engine.base.heads import HeadSpec, Item, candidate_specs, describe, select_heads

HEADS = [(layer, head) for layer in range(2) for head in range(3)]
item = st.one_of(
    st.tuples(st.integers(0, 99), st.one_of(st.none(), st.integers(0, 99))), st.just((None, None))
)


@given(st.lists(item, min_size=1, max_size=5, unique=True))
def test_printing_and_parsing_are_inverse(items: list[Item]) -> None:
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
def test_specs_name_positions(text: str, indices: list[int]) -> None:
    assert HeadSpec.parse(text).indices(HEADS) == indices


def test_positions_follow_what_the_cache_holds() -> None:
    assert HeadSpec.parse("1.2").indices([(1, 2), (0, 0)]) == [0]


@pytest.mark.parametrize(
    "text", ["", "0", "0.x", "-1.0", "0.8,", "0.8,0.8", "0.8;1.3", "٣.1", "all", "0.1.2"]
)
def test_nonsense_is_refused_with_the_grammar(text: str) -> None:
    with pytest.raises(
        HeadError, match=r"head spec '.*is not understood\. Write LAYER\.HEAD|is listed twice"
    ):
        HeadSpec.parse(text)


def test_a_missing_head_is_refused_with_what_there_is() -> None:
    with pytest.raises(
        HeadError, match=r"head '5\.1': shards does not hold it. It holds layers 0, 1: heads 0-2"
    ):
        HeadSpec.parse("0.1,5.1").indices(HEADS, "shards")


@pytest.mark.parametrize(
    ("text", "indices"),
    [
        ("all", [0, 1, 2, 3, 4, 5]),
        ("1", [3, 4, 5]),
        ("1.0,0", [0, 1, 2, 3]),
        (" 0.2 , 0.2", [2]),
        ("1.1,all", [0, 1, 2, 3, 4, 5]),
    ],
)
def test_a_list_names_single_heads_to_store(text: str, indices: list[int]) -> None:
    assert select_heads(text, HEADS) == indices


@pytest.mark.parametrize("text", ["mean", "0.mean", "0.1,1.mean"])
def test_a_mean_is_not_stored(text: str) -> None:
    with pytest.raises(
        HeadError, match=r"is a mean, and shards store single heads\. .* layers 0, 1: heads 0-2"
    ):
        select_heads(text, HEADS)


@pytest.mark.parametrize(
    ("text", "specs"),
    [
        ("0.1,1.mean,mean", ["0.1", "1.mean", "mean"]),
        ("1", ["1.0", "1.1", "1.2"]),
        ("all", ["0.0", "0.1", "0.2", "1.0", "1.1", "1.2"]),
        ("mean,1.1,1", ["mean", "1.1", "1.0", "1.2"]),  # in the order written, each once
        (" 0.0 , 0.0", ["0.0"]),
    ],
)
def test_a_list_names_candidates(text: str, specs: list[str]) -> None:
    assert [str(spec) for spec in candidate_specs(text, HEADS)] == specs


@pytest.mark.parametrize("text", ["", "0.8;1", "auto", "0.0|0.1", "0.1,", "0.x", "٣"])
def test_a_list_that_is_not_understood_is_refused_with_what_there_is(text: str) -> None:
    for parse in (select_heads, candidate_specs):
        with pytest.raises(
            HeadError, match=r"--heads '.*is not understood\. Write all, .* layers 0, 1: heads 0-2"
        ):
            parse(text, HEADS)


@pytest.mark.parametrize("text", ["7", "0.9", "0.1,7"])
def test_a_list_with_a_missing_head_is_refused_with_what_there_is(text: str) -> None:
    for parse in (select_heads, candidate_specs):
        with pytest.raises(
            HeadError, match=r"--heads '(7|0\.9)': here does not hold it. It holds layers 0, 1: heads 0-2"
        ):
            parse(text, HEADS, "here")
    with pytest.raises(HeadError, match=r"--heads '7\.mean': the cache does not hold it"):
        candidate_specs("7.mean", HEADS)


def test_description_is_short() -> None:
    assert describe([(0, 0), (0, 1), (0, 2), (3, 1), (3, 7)]) == "layer 0: heads 0-2; layer 3: heads 1, 7"
    assert describe([(layer, head) for layer in range(6) for head in range(12)]) == "layers 0-5: heads 0-11"
