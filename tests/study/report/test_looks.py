"""The four pages as readers see them: on a phone, a tablet and a desk, in light and in the dark."""

from dataclasses import replace
from pathlib import Path

import pytest

from amix.engine.mixing.attentionmix import AttentionMix
from amix.loaders.shards.manifest import Manifest
from amix.study.compare.comparison import Comparison, written_grid
from amix.study.report.comparison import comparison_page
from amix.study.report.heads import analysis_page
from amix.study.report.run import run_page
from amix.study.report.texts import write_page
from tests.browser import Look, look_at, needs_browser
from tests.study.report.made import analysis, inspected_text, run_record

RESULTS = Path(__file__).parents[3] / "docs" / "results" / "few"
PAGES = ("run", "comparison", "inspect", "analysis", "one-layer")
WIDTHS = (390, 768, 1200)

Looks = dict[bool, dict[tuple[str, int], Look]]


@pytest.fixture(scope="module")
def looks(tmp_path_factory: pytest.TempPathFactory, reviews: Path) -> Looks:
    folder = tmp_path_factory.mktemp("looks")
    plain = run_record(folder / "plain", method="none", p=None)
    (folder / "run.html").write_text(run_page(run_record(folder / "run"), plain))
    kept = Comparison.read(RESULTS)  # methods with 10 seeds and with 5, some of which mixed nothing
    rows = [replace(row, values={**row.values, "aurc": row.values["ece"]}) for row in kept.rows]
    kept = replace(kept, rows=tuple(rows))  # kept before there was this metric
    (folder / "comparison.html").write_text(comparison_page(RESULTS, kept, written_grid(RESULTS)))
    (folder / "analysis.html").write_text(analysis_page(analysis(12, 12), "reviews"))
    (folder / "one-layer.html").write_text(analysis_page(analysis(1, 12), "reviews"))
    heads = tuple((layer, head) for layer in range(12) for head in range(12))
    one, *others = (inspected_text(row, 30 - row, len(heads), "ab"[row % 2]) for row in range(4))
    manifest = replace(Manifest.read(reviews), heads=heads)
    write_page(folder / "inspect.html", manifest, one, others, "2.11", AttentionMix())
    pages = {name: f"{name}.html" for name in PAGES}
    return {dark: look_at(pages, folder, WIDTHS, dark=dark) for dark in (False, True)}


@needs_browser
@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", PAGES)
def test_a_page_fits_and_can_be_read(looks: Looks, name: str, width: int, dark: bool) -> None:
    look = looks[dark][name, width]
    assert look.found.pop("width") == width
    scrolling = look.found.pop("scrolling")  # frames; their first column stays
    assert scrolling == 0 or (name in ("run", "comparison") and width < 1200)
    nothing = {fault: found for fault, found in look.found.items() if found}
    assert nothing == {}
    most = max(look.colours, key=lambda colour: look.colours[colour])
    assert (sum(most) < 3 * 64) == dark, most  # the page follows the reader's choice
    assert len(look.colours) > 50
    assert look.colours[most] / sum(look.colours.values()) < 0.97
