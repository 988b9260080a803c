"""The tables of docs/scaling.md are what its script prints, and its arithmetic is that of the format."""

from pathlib import Path

import pytest
import scale_model

from tests.loaders.forge import forge, layout_of

ROOT = Path(__file__).resolve().parents[2]


def test_the_page_has_the_tables_that_the_script_prints() -> None:
    text = (ROOT / "docs/scaling.md").read_text()
    _, _, rest = text.partition("<!-- tables: begin -->\n")
    tables, _, _ = rest.partition("<!-- tables: end -->")
    assert tables.strip() == scale_model.page(), (
        "run python bench/scale_model.py, and put what it prints into the page"
    )


@pytest.mark.parametrize("dtype", ["float16", "uint8"])
def test_bytes_of_a_text_are_those_of_its_files(tmp_path: Path, dtype: str) -> None:
    cache = forge(tmp_path / "cache", [40] * 100, layout_of(heads=12, dtype=dtype), per_shard=100)
    files = sum(path.stat().st_size for path in cache.glob("shard-*") if path.suffix != ".json")
    counted = scale_model.sample_bytes(12, dtype, 40) * 100  # type: ignore[arg-type]  # one of the two
    assert counted <= files < counted + 2000  # three headers, and the end of the tar


def test_numbers_have_three_figures() -> None:
    assert [scale_model.number(value) for value in (123_456, 12.345, 0.01234, 0.0001)] == [
        "123,000",
        "12.3",
        "0.0123",
        "< 0.001",
    ]
