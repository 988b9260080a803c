"""Pages about runs and comparisons: what they say, that they need nothing, and that a browser shows them."""

import json
import re
import shutil
from html import escape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from click.testing import CliRunner

from amix.cli import main
from amix.study.compare.comparison import Comparison
from amix.study.report.charts import Interval, heat_map, intervals, lines, reliability
from amix.study.report.page import page, table
from amix.study.runs import RunRecord
from amix.train.options.config import TrainConfig
from amix.train.run.log import ScoreLine
from amix.train.run.train import train
from tests.browser import colours_of, needs_browser

HOSTILE = '<script>alert(1)</script><img src=x onerror="alert(2)"> & "it\'s"'
VOID = {"meta", "link", "img", "br", "line", "rect", "circle", "polyline"}


class Balanced(HTMLParser):
    """Notes elements that are opened and not closed, and the names of all."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.names: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.names.append(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.names.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def parsed(text: str) -> Balanced:
    parser = Balanced()
    parser.feed(text)
    parser.close()
    assert parser.open == []
    return parser


@pytest.fixture(scope="module")
def run(reviews: Path, held_out: Path, tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report") / "run"
    config = TrainConfig(lr=3e-3, batch_size=8, epochs=3, log_steps=2, head="0.1", device="cpu")
    train(reviews, folder, str(tiny_bert), config, dev=held_out, evals=[("test", held_out)])
    return folder


@pytest.fixture(scope="module")
def comparison(
    reviews: Path, held_out: Path, tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("report") / "comparison"
    arguments = ["compare", reviews, folder, "--model", tiny_bert, "--dev", held_out, "--eval", held_out]
    arguments += ["--heads", "0.0,0.1,1.0", "--seeds", 2, "--epochs", 1, "--samples", "16"]
    done = CliRunner().invoke(main, [str(each) for each in arguments])
    assert done.exit_code == 0, done.output
    return folder


def made(folder: Path, out: Path) -> str:
    done = CliRunner().invoke(main, ["report", str(folder), str(out)])
    assert done.exit_code == 0, done.output
    return out.read_text()


def test_a_run_is_told_whole(run: Path, tmp_path: Path) -> None:
    text = made(run, tmp_path / "page.html")
    parsed(text)
    logged = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    evaluated = next(line for line in logged if line.get("kind") == "eval")
    for name in ("accuracy", "macro_f1", "nll", "ece"):
        assert f"<td>{evaluated[name]:.3f}</td>" in text
    for heading in (
        "Result",
        "Calibration",
        "Training loss",
        "Development set",
        "Texts, shaded",
        "Run it again",
    ):
        assert f"<h2>{heading}" in text
    assert "Head 0.1" in text
    # Test, test by the temperature of the development set, and that set itself.
    assert len(re.findall(r"<h3>test, logits / \d", text)) == 1
    assert text.count("<figcaption>accuracy by confidence") == 3
    assert escape((run / "config.yaml").read_text()) in text
    assert f"torch {torch.__version__}" in text
    assert not re.search(r"https?://|<link|<img|<script|@import|url\(", text)


def test_a_run_is_read_as_it_was_written(run: Path) -> None:
    record = RunRecord.read(run)
    assert record.as_dict() == yaml.safe_load((run / "config.yaml").read_text())
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line.as_dict() for line in record.log] == lines
    assert [line.kind for line in record.log if isinstance(line, ScoreLine)] == ["dev", "dev", "dev", "eval"]
    done = CliRunner().invoke(main, ["info", str(run), "--json"])
    shown = json.loads(done.stdout.splitlines()[-1])
    assert shown == {"kind": "run", **record.as_dict(), "last": lines[-1]}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("metrics.jsonl", '{"step": 1}\n'),
        ("metrics.jsonl", '{"step": 1, "epoch": 1, "kind": "else"}\n'),
        ("metrics.jsonl", "[]\n"),
        ("config.yaml", "shards: a\n"),
        ("config.yaml", "shards: a\nmodel: b\ndev: null\neval: {}\nepochs: many\n"),
    ],
)
def test_a_damaged_run_is_refused(run: Path, tmp_path: Path, name: str, text: str) -> None:
    for each in ("config.yaml", "metrics.jsonl"):
        shutil.copy(run / each, tmp_path / each)
    (tmp_path / name).write_text(text)
    for command in ("report", "info"):
        done = CliRunner().invoke(main, [command, str(tmp_path)])
        assert (done.exit_code, f"{tmp_path}: its log or options cannot be read" in done.stderr) == (1, True)


@pytest.mark.parametrize("head", ["auto", "0.0|0.1"])
def test_texts_are_shaded_by_the_head_that_was_mixed_by(
    head: str, reviews: Path, held_out: Path, tiny_bert: Path, tmp_path: Path
) -> None:
    config = TrainConfig(lr=3e-3, batch_size=8, epochs=1, head=head, p=0.5, device="cpu")
    # A set that is called dev is not the one that selected.
    result = train(
        reviews,
        tmp_path / "run",
        str(tiny_bert),
        config,
        dev=reviews,
        evals=[("dev", held_out), ("b", held_out)],
    )
    text = made(tmp_path / "run", tmp_path / "page.html")
    assert (f"Head {result.head}" in text) == (head == "auto")
    assert ("Texts, shaded" in text) == (
        head == "auto"
    )  # where heads took turns there is not one to shade by
    assert result.temperature is not None
    assert text.count(f"<td>b, logits / {result.temperature:.2f}</td>") == 1
    assert text.count(f"<td>dev, logits / {result.temperature:.2f}</td>") == 1

    damaged = tmp_path / "run" / "predictions" / "eval-b.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:50])
    done = CliRunner().invoke(main, ["report", str(tmp_path / "run"), str(tmp_path / "again.html")])
    assert done.exit_code == 1
    assert "eval-b.safetensors: cannot be read" in done.stderr
    assert f"Remove its run, {tmp_path / 'run'}," in done.stderr


def test_a_run_is_told_without_its_shards(run: Path, tmp_path: Path) -> None:
    gone = shutil.copytree(run, tmp_path / "run")
    config = (gone / "config.yaml").read_text()
    (gone / "config.yaml").write_text(re.sub(r"(?m)^shards: .*$", "shards: /nowhere", config))
    text = made(gone, tmp_path / "page.html")
    assert "Texts, shaded" not in text
    assert "Calibration" in text


def test_a_comparison_is_told_whole(comparison: Path, tmp_path: Path) -> None:
    text = made(comparison, tmp_path / "page.html")
    parsed(text)
    rows = Comparison.read(comparison).rows
    for row in rows:
        assert f"<td>{row.method}</td>" in text
    assert "accuracy minus that of none" in text
    assert "accuracy by layer and head" in text  # three single heads were compared
    assert escape((comparison / "grid.yaml").read_text()) in text
    mean = rows[-1].differences["accuracy"].mean
    assert f"{mean:+.4f}" in text


def test_other_folders_are_refused(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["report", str(tmp_path)])
    assert done.exit_code == 1
    assert f"{tmp_path}: is not a run" in done.stderr
    (tmp_path / "comparison.json").write_text("{}")
    done = CliRunner().invoke(main, ["report", str(tmp_path)])
    assert "comparison.json: cannot be read" in done.stderr


def test_names_are_text_wherever_they_stand() -> None:
    body = [
        table([HOSTILE], [[HOSTILE]]),
        lines({HOSTILE: [(0, 1), (1, 2)], "b": [(0, 1)]}, HOSTILE, HOSTILE),
        heat_map([[0.5, None]], [HOSTILE], [HOSTILE, "b"], HOSTILE),
        intervals([Interval(HOSTILE, 0.1, 0.0, 0.2)], HOSTILE),
    ]
    text = page(HOSTILE, HOSTILE, [(HOSTILE, "".join(body))])
    found = parsed(text)
    assert not {"script", "img"} & set(found.names)


def test_charts_of_little_or_nothing() -> None:
    assert lines({"a": []}, "x", "y") == ""
    assert intervals([], "x") == ""
    nan = float("nan")
    for chart in (
        lines({"a": [(1, 3.0)]}, "x", "y"),
        lines({"a": [(1, 3.0), (2, nan), (3, 3.0)]}, "x", "y"),
        reliability([0, 0], [0.25, 0.75], [0, 0]),
        heat_map([[nan]], ["a"], ["b"], "x"),
        intervals([Interval("a", 0.0, 0.0, 0.0)], "x"),
    ):
        parsed(chart)
        assert "nan" not in chart


def test_bars_stand_where_their_numbers_say() -> None:
    chart = intervals([Interval("a", 0.0, -1.0, 1.0), Interval("b", 0.5, 0.0, 1.0)], "x")
    spans = [
        (float(low), float(high))
        for low, high in re.findall(r'class="s0" x1="([\d.]+)" y1="\d+" x2="([\d.]+)"', chart)
    ]
    (zero,) = map(float, re.findall(r'class="rule" x1="([\d.]+)"', chart))
    assert spans[0][0] < zero < spans[0][1]
    assert spans[1][0] == zero
    assert spans[1][1] == spans[0][1]


@needs_browser
@pytest.mark.parametrize("width", [390, 1200])
@pytest.mark.parametrize("dark", [False, True])
def test_a_browser_shows_it_on_a_phone_and_in_the_dark(
    run: Path, comparison: Path, tmp_path: Path, width: int, dark: bool
) -> None:
    options = (
        ("--blink-settings=preferredColorScheme=0",) if dark else ("--blink-settings=preferredColorScheme=1",)
    )
    for name, folder in (("run", run), ("comparison", comparison)):
        made(folder, tmp_path / f"{name}.html")
        colours = colours_of(tmp_path / f"{name}.html", tmp_path, "", width, *options)
        assert len(colours) > 50
        most = max(colours, key=lambda colour: colours[colour])
        assert (sum(most) < 3 * 64) == dark, most  # the page follows the reader's choice
        assert colours[most] / sum(colours.values()) < 0.97
