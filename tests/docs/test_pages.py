"""Pages that are made from the code are those of this code, and the links of all pages are sound."""

import re
import tomllib
from pathlib import Path
from urllib.parse import urlsplit
from xml.etree import ElementTree

import numpy as np
import pytest

from amix.study.attention.inspection import Inspector
from amix.train.score.evaluate import Predictions
from pages import benchmarks, commands, errors, pictures
from tests.docs.blocks import DOCS, ROOT
from tests.docs.blocks import pages as pages_of_the_site

NAMES = [page.relative_to(ROOT).as_posix() for page in pages_of_the_site()]


@pytest.mark.parametrize("made", [benchmarks, commands, errors])
def test_a_page_that_is_made_is_current(made: object) -> None:
    path: str = made.PAGE  # type: ignore[attr-defined]  # of a module
    assert (ROOT / path).read_text("utf-8") == made.page(), "run: make pages"  # type: ignore[attr-defined]


def test_the_plots_are_those_of_the_published_run() -> None:
    drawn = {path.name: path.read_text("utf-8") for path in (DOCS / "pictures").glob("bench-*.svg")}
    assert drawn == benchmarks.plots(), "run: make pages"


def test_the_page_of_errors_has_what_functions_return_for_others_to_raise() -> None:
    found = {message.text: message for message in errors.messages()}
    (text,) = [text for text in found if text.startswith("cuda:⟨cuda⟩ was asked for, but ⟨why⟩.")]
    assert found[text].kind == "DeviceError" and found[text].module == "engine/extractor/runner.py"


def test_the_page_of_errors_ends_with_what_to_do() -> None:
    entry = "- `⟨path⟩: is a link.`  \n  It was not written by `amix precompute`; do not use this folder.  \n"
    assert entry in errors.page()


def test_every_page_has_a_place_in_the_navigation_and_no_other_has() -> None:
    config = tomllib.loads((ROOT / "zensical.toml").read_text("utf-8"))

    def places(entries: list[dict[str, object]]) -> list[str]:
        found: list[str] = []
        for entry in entries:
            (place,) = entry.values()
            found += places(place) if isinstance(place, list) else [str(place)]
        return found

    left_out = tuple(f"docs{folder}" for folder in config["project"]["exclude_docs"].split())
    shown = sorted(name for name in NAMES if not name.startswith(left_out))
    assert sorted(f"docs/{place}" for place in places(config["project"]["nav"])) == shown


@pytest.mark.parametrize("page", NAMES)
def test_addresses_elsewhere_are_well_formed(page: str) -> None:
    text = (ROOT / page).read_text("utf-8")
    for address in re.findall(r"https?://[^\s)>\]`\"']+", text):
        parts = urlsplit(address)
        assert parts.scheme == "https" and "." in parts.netloc and address.isascii(), f"{page}: {address}"


@pytest.mark.parametrize("page", NAMES)
def test_links_within_the_pages_lead_to_a_heading(page: str) -> None:
    path = ROOT / page
    text = re.sub(r"^```.*?^```", "", path.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        name, _, anchor = target.partition("#")
        if urlsplit(target).scheme:
            continue
        file = (path.parent / name).resolve() if name else path
        assert file.exists() and file.is_relative_to(DOCS), f"{page}: {target}"
        if anchor:
            assert anchor in headings(file), f"{page}: {target}; there are {sorted(headings(file))}"


def headings(page: Path) -> set[str]:
    """Return the anchors of a page, as GitHub makes them."""
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    names = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {
        re.sub(r"[^\w\- ]", "", name.lower().replace("`", "")).strip().replace(" ", "-") for name in names
    }


def test_pictures_are_small_drawings_in_light_and_dark(reviews: Path) -> None:
    inspector = Inspector(reviews)
    one, two = (int(row) for row in inspector.dataset.rows()[:2])
    sure = np.array([[3.0, 0.0], [0.0, 1.0], [2.0, 0.0]])
    found = Predictions(logits_NC=sure, truth=np.array([0, 1, 1]), rows=np.arange(3), multi_label=False)
    for svg in (
        pictures.relevance(inspector, one, ("0.mean", "1.0")),
        pictures.mixing(inspector, one, two, "0.mean"),
        pictures.calibration({"none": found, "attentionmix": found}),
        pictures.likelihood(),
        *(path.read_text("utf-8") for path in (DOCS / "pictures").glob("*.svg")),
    ):
        drawn = ElementTree.fromstring(svg)
        assert float(drawn.attrib["width"]) <= 400 and len(svg) < 20_000
        assert drawn.attrib["aria-label"] and "prefers-color-scheme: dark" in svg
        for text in drawn.iter("{http://www.w3.org/2000/svg}text"):
            x, long = float(text.attrib["x"]), 6.9 * len(text.text or "")
            assert text.attrib["class"].endswith(("end", "middle")) or x + long <= 400, text.text
