"""`amix inspect`: the numbers are the cache's and the mixer's, in the terminal, as JSON, and in a real browser."""

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

from amix.cli import main
from amix.engine.mixing.attentionmix import AttentionMix
from amix.engine.mixing.plan import Plan
from amix.loaders.stream.dataset import RelevanceDataset
from tests.browser import browse, needs_browser

HOSTILE = '</script><img src=x onerror=alert(1)> & "quoted" <!-- it\'s'


def amix(*arguments: object, **options: Any) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], **options)


@pytest.fixture(scope="module")
def shards(
    tmp_path_factory: pytest.TempPathFactory,
    tiny_extractor: Path,
    review_rows: list[dict[str, Any]],
    write_jsonl: Callable[[Path, Iterable[Mapping[str, Any]]], Path],
) -> Path:
    folder = tmp_path_factory.mktemp("inspect")
    rows = [{**row, "label": ("bad", "good")[row["label"]]} for row in review_rows[:6]]
    rows.insert(2, {"text": "", "label": "bad"})
    rows.append({"text": HOSTILE, "label": "good"})
    corpus = write_jsonl(folder / "rows.jsonl", rows)
    made = amix(
        "precompute",
        corpus,
        folder / "shards",
        "--extractor",
        tiny_extractor,
        "--workers",
        1,
        "--labels",
        "bad,good",
    )
    assert made.exit_code == 0, made.output
    return folder / "shards"


def inspected(shards: Path, *arguments: object) -> dict[str, Any]:
    done = amix("inspect", shards, *arguments, "--json")
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_json_holds_the_caches_relevance_and_the_tokenizers_tokens(shards: Path) -> None:
    found = inspected(shards, "--row", 3, "--head", "0.1")
    sample = RelevanceDataset(shards, head="0.1")[2]  # row 2 was rejected
    assert (found["row"], found["head"]) == (3, "0.1")
    np.testing.assert_allclose(
        [each["relevance"] for each in found["tokens"]], sample["relevance"], rtol=1e-6
    )
    assert [each["content"] for each in found["tokens"]] == sample["content"].tolist()
    assert found["tokens"][0]["token"] == "[CLS]"
    assert found["label"] in ("bad", "good")
    assert inspected(shards)["row"] == 0
    assert inspected(shards)["head"] == "0.mean"


def plan_of(shards: Path, rows: tuple[int, int], head: str, **options: Any) -> Plan:
    dataset = RelevanceDataset(shards, head=head)
    places = [dataset.rows().tolist().index(row) for row in rows]
    samples = [dataset[place] for place in places]
    length = max(len(sample["input_ids"]) for sample in samples)

    def padded(name: str) -> torch.Tensor:
        rows = [np.pad(sample[name], (0, length - len(sample[name]))) for sample in samples]
        return torch.from_numpy(np.stack(rows))

    mask = torch.arange(length) < torch.tensor([len(sample["input_ids"]) for sample in samples])[:, None]
    return AttentionMix(**options).plan(
        mask.long(), relevance=padded("relevance"), content=padded("content"), partner=torch.tensor([1, 0])
    )


def test_a_mix_is_the_one_that_training_makes(shards: Path) -> None:
    found = inspected(
        shards, "--row", 1, "--with", 4, "--head", "1.0", "--label-weight", "mass", "--strength", 0.7
    )
    plan = plan_of(shards, (1, 4), "1.0", label_weight="mass", strength=0.7)
    np.testing.assert_allclose(found["with"]["ratio"], plan.ratio[0].numpy(), rtol=1e-6)
    assert found["with"]["label_weight"] == pytest.approx(float(plan.label_weight[0]))
    assert sum(found["with"]["labels"].values()) == pytest.approx(1)
    alone = inspected(shards, "--row", 1, "--with", 1)
    assert set(alone["with"]["labels"].values()) == {1.0}


def test_without_colour_there_is_a_table(shards: Path) -> None:
    done = amix("inspect", shards, "--row", 1, "--with", 4)
    assert "\x1b[" not in done.stdout
    assert "position  token" in done.stdout
    assert "label weight 0." in done.stdout
    # What a token received and what counts in the mix are different numbers, and called so.
    assert "relevance" not in done.stdout
    assert "counts: what a token received, without special tokens" in done.stdout
    received, counts = (
        {fields[1]: fields[2] for fields in map(str.split, block.splitlines()) if fields and fields[0] == "0"}
        for block in done.stdout.split("mixed with row")
    )
    assert float(received["[CLS]"]) > float(counts["[CLS]"]) == 0.0
    kept = amix("inspect", shards, "--row", 1, "--with", 4, "--special", "keep")
    assert "counts: what" not in kept.stdout
    forced = amix("inspect", shards, "--row", 1, color=True, env={"NO_COLOR": "1"})
    assert "\x1b[" not in forced.stdout


def test_a_terminal_gets_shades(shards: Path) -> None:
    code = "import sys; sys.argv[0] = 'amix'; from amix.cli import main; main()"
    screen, terminal = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-c", code, "inspect", str(shards), "--row", "1"],
        stdout=terminal,
        stderr=subprocess.PIPE,
        env={name: value for name, value in os.environ.items() if name != "NO_COLOR"},
    )
    os.close(terminal)
    shown = b""
    while True:
        try:
            part = os.read(screen, 4096)
        except OSError:  # the terminal's other end is closed
            break
        if not part:
            break
        shown += part
    _, errors = child.communicate()
    os.close(screen)
    assert child.returncode == 0, errors
    text, legend = shown.split(b"none ")
    assert b"\x1b[38;5;16m\x1b[48;5;2" in text
    assert b"3 times the average word" in legend
    assert all(f"\x1b[48;5;{shade}m".encode() in legend for shade in (230, 222, 215, 208, 202))
    assert b"\x1b[2m[CLS]" in shown


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("--row", 99), 2, "holds the rows 0 to 7"),
        (("--row", 2), 2, "this row was rejected"),
        (("--head", "7.0"), 2, "does not hold it. It holds layers 0, 1: heads 0, 1"),
        (("--head", "first"), 2, "'first' is not understood"),
        (("--with", 50), 2, "holds the rows 0 to 7"),
        (("--strength", 2), 2, "'--strength': 2.0 is not in the range"),
    ],
)
def test_what_cannot_be_shown_is_a_sentence(
    shards: Path, arguments: tuple[object, ...], code: int, says: str
) -> None:
    done = amix("inspect", shards, *arguments)
    assert done.exit_code == code
    assert says in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture(scope="module")
def page(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "page.html"
    done = amix("inspect", shards, "--row", 1, "--with", 7, "--html", path)
    assert done.exit_code == 0, done.output
    return path


def test_the_page_needs_nothing_from_elsewhere(page: Path) -> None:
    text = page.read_text()
    assert not re.search(r"https?://|<link|<img|src=(?!x)|@import|url\(", text.replace("onerror", ""))
    assert text.count("</script>") == 2  # a hostile text has not added one
    assert '"relevance":[[' in text


def data_of(page: Path) -> dict[str, Any]:
    (data,) = re.findall(r'id="data">(.*?)</script>', page.read_text())
    found: dict[str, Any] = json.loads(data)
    return found


def test_the_page_offers_partners_the_best_first(shards: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    done = amix("inspect", shards, "--row", 1, "--html", page)
    assert done.exit_code == 0, done.output
    own, first, *others = data_of(page)["texts"]
    assert own["label"] != first["label"]
    assert data_of(page)["chosen"]["with"] == first["row"]
    rows = [own["row"], first["row"], *(each["row"] for each in others)]
    assert len(set(rows)) == len(rows) >= 5
    assert {tuple(each["label"]) for each in others} == {("bad",), ("good",)}
    assert amix("inspect", shards, "--row", 1, "--with", 4, "--html", page).exit_code == 0
    assert [each["row"] for each in data_of(page)["texts"]][:2] == [1, 4]
    assert amix("inspect", shards, "--row", 1, "--with", 1, "--html", page).exit_code == 0
    assert [each["row"] for each in data_of(page)["texts"]][:2] == [1, 1]


def test_a_page_is_written_instead_of_the_table(shards: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    done = amix("inspect", shards, "--row", 1, "--with", 4, "--html", page)
    assert done.stdout == f"{page}: open it in a browser; it needs no network.\n"
    assert done.stderr == ""
    found = inspected(shards, "--row", 1, "--html", page)
    assert (found["page"], found["row"]) == (str(page), 1)


def test_a_long_text_leaves_room_for_one_partner(
    reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("amix.study.report.texts._MOST_VALUES", 10)
    assert amix("inspect", reviews, "--html", tmp_path / "page.html").exit_code == 0
    assert len(data_of(tmp_path / "page.html")["texts"]) == 2


@needs_browser
@pytest.mark.parametrize(
    ("head", "other", "options"),
    [
        ("0.mean", 7, {}),
        ("1.0", 7, {"label_weight": "mass"}),
        ("mean", 0, {"strength": 0.4, "sharpness": 2.5}),
        ("0.1,1.0", 7, {"special": "keep"}),
    ],
)
def test_the_browser_computes_what_training_does(
    page: Path, shards: Path, tmp_path: Path, head: str, other: int, options: dict[str, Any]
) -> None:
    chosen = {"head": head, "with": other, **options}
    fragment = "#" + "&".join(f"{name}={value}" for name, value in chosen.items())
    dom = browse(page, tmp_path, fragment, "--dump-dom").stdout
    plan = plan_of(shards, (1, other), head, **options)
    (weight,) = map(float, re.findall(r'<body[^>]*data-label-weight="([\d.e-]+)"', dom))
    ratios = [float(value) for value in re.findall(r'<tr data-ratio="([\d.e-]+)"', dom)]
    assert weight == pytest.approx(float(plan.label_weight[0]), abs=1e-4)
    np.testing.assert_allclose(ratios, plan.ratio[0].numpy(), atol=1e-4)
    assert re.findall(r'id="head-name">([^<]*)<', dom) == [head]
    assert "<img" not in dom  # the hostile text is on the page as text
    assert "&lt;" in dom
