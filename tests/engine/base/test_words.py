from amix.engine.base.words import counted


def test_a_number_has_the_noun_that_fits_it() -> None:
    assert counted(1, "shard") == "1 shard"
    assert counted(0, "shard") == "0 shards"
    assert counted(4096, "text") == "4,096 texts"
    assert [counted(number, "text was", "texts were") for number in (1, 2)] == ["1 text was", "2 texts were"]
