"""Every block of code in the pages is run, or says why not."""

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from amix.study.fit.defaults import MODEL
from tests.docs.blocks import LANGUAGES, ROOT, Block, blocks, blocks_of, indented, pages
from tests.docs.driver import commands
from tests.docs.workspace import fill
from tests.hubcache import offline
from tests.shared import SharedFolders

NAMES = ["README.md", *(page.relative_to(ROOT).as_posix() for page in pages())]


def is_run(block: Block) -> bool:
    return not block.not_run and block.language != "text"


RUN = [name for name in NAMES if any(map(is_run, blocks_of(ROOT / name)))]


@pytest.fixture(scope="session")
def failures(
    shared: SharedFolders,
    review_rows: list[dict[str, Any]],
    tiny_bert: Path,
    tiny_extractor: Path,
    reviews: Path,
    held_out: Path,
) -> dict[str, list[str]]:
    """The failures of every page, from one process that runs them all."""
    workspace = shared.make(
        "workspace", lambda folder: fill(folder, review_rows, tiny_extractor, reviews, held_out)
    )

    def build(folder: Path) -> None:
        places = f"Path({str(workspace)!r}), Path({str(tiny_bert)!r}), Path({str(folder / 'found.json')!r})"
        code = (
            f"from pathlib import Path; from tests.docs.driver import run_pages; run_pages({RUN!r}, {places})"
        )
        offline(tiny_bert, folder / "hub", code, MODEL, ROOT)

    found: dict[str, list[str]] = json.loads((shared.make("ran-pages", build) / "found.json").read_text())
    return found


@pytest.mark.parametrize("page", RUN)
def test_the_blocks_of_a_page_run(failures: dict[str, list[str]], page: str) -> None:
    assert not failures[page], "\n".join(failures[page])


@pytest.mark.parametrize("page", NAMES)
def test_every_block_says_what_it_is(page: str) -> None:
    for block in blocks_of(ROOT / page):
        assert block.language in LANGUAGES, (
            f"{page}:{block.line}: ```{block.language}; use one of {LANGUAGES}"
        )
    assert indented((ROOT / page).read_text("utf-8")) == [], (
        f"{page}: code that is indented is not run; put it between fences"
    )


def test_a_mark_holds_for_the_next_block_or_for_the_rest_of_its_page() -> None:
    text = """<!-- not run: why -->
```sh
amix one
```
```yaml title="a.yaml"
b: c
```
<!-- not run on this page: never -->
```
amix two
```
"""
    found = [(block.line, block.language, block.title, block.not_run) for block in blocks(text, "page")]
    assert found == [(3, "sh", "", "why"), (6, "yaml", "a.yaml", ""), (10, "", "", "never")]


def test_code_without_a_fence_is_found_and_text_of_a_list_is_not() -> None:
    assert indented("Text:\n\n    amix one\n") == [3]
    assert indented("- item\n\n    more of it\n\n```sh\n\n    x\n```\n") == []


def test_commands_go_on_after_a_backslash_and_end_at_a_comment() -> None:
    assert commands("amix a \\\n  --b 'c d'   # e\n\n# f\ntar x | head\n") == [
        ["amix", "a", "--b", "c d"],
        ["tar", "x", "|", "head"],
    ]


# Why blocks are not run, and of which pages. A block that needs no network, GPU or corpus of others is run.
NOT_RUN = {
    "installs packages": ["README.md", "docs/quickstart.md"],
    "needs an environment of its own": ["docs/guides/optimum.md"],
    "needs GPUs": ["docs/guides/several-gpus.md"],
    "needs a bucket": ["docs/guides/object-storage.md"],
    "needs a cluster": ["docs/guides/ray.md", "docs/scaling.md"],
    "a test of its own does so": ["docs/scaling.md"],
    "reads the runs of a comparison that takes hours": ["docs/few-labels.md"],
    "takes hours": ["docs/comparing.md"],
    "it takes up to an hour": ["docs/benchmarks.md"],
    "the corpora are not in the repository, and the runs took hours": [
        "docs/diary.md",
        "docs/measurements.md",
        "docs/results.md",
        "docs/results/README.md",
        "docs/results/gpu/README.md",
    ],
    "the script that is to be changed; the next block is it, changed": [
        "docs/guides/hugging-face-trainer.md"
    ],
}


def test_what_is_not_run_is_known() -> None:
    found: dict[str, set[str]] = {}
    all_blocks = itertools.chain.from_iterable(blocks_of(ROOT / name) for name in NAMES)
    for block in all_blocks:
        if block.not_run and block.language != "text":
            found.setdefault(block.not_run, set()).add(block.page)
    assert {reason: sorted(pages) for reason, pages in found.items()} == NOT_RUN
