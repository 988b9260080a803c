"""What a development set may be named by."""

from pathlib import Path

import pytest

from amix.engine.base.errors import ConfigError
from amix.train.options.dev import Share, parse_dev
from amix.train.options.file import Inputs, read_config


@pytest.mark.parametrize("given", ["0.2", ".2", "2e-1"])
def test_a_number_is_a_share(given: str) -> None:
    assert parse_dev(given) == Share(0.2)
    assert str(parse_dev(given)) == "0.2"


@pytest.mark.parametrize("given", ["shards", "./0.2", "0.2/dev", "s3://bucket/0.2", Path("0.2")])
def test_everything_else_is_shards(given: str | Path) -> None:
    assert parse_dev(given) == given


def test_nothing_is_nothing() -> None:
    assert parse_dev(None) is None
    assert parse_dev("none") is None


@pytest.mark.parametrize("given", ["0", "1", "20", "-0.2", "1.5", "0.0"])
def test_a_number_that_is_no_share_is_refused(given: str) -> None:
    with pytest.raises(ConfigError, match=rf"dev is {given}; a share .* write \./{given}$"):
        parse_dev(given)


@pytest.mark.parametrize("written", ["0.2", "'0.2'"])
def test_a_file_may_quote_it_or_not(written: str, tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(f"dev: {written}\n")
    assert read_config(path)[1] == Inputs(dev="0.2")
