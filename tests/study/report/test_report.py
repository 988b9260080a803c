"""Pages about runs and comparisons: what they say, and that they need nothing and name no place of this machine."""

import importlib.metadata
import json
import re
import shutil
from html import escape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from amix.cli import main
from amix.study.compare.comparison import Comparison, written_grid
from amix.study.compare.statistics import Difference
from amix.study.compare.verdict import in_short
from amix.study.report.comparison import comparison_page
from amix.study.report.curves import curve
from amix.study.report.page import page
from amix.study.report.places import place_name
from amix.study.report.tables import SHARES, Scale, heat_map, table, titled
from amix.study.report.tracks import Found, differences, reliability
from amix.study.runs import RunRecord
from amix.study.terms import TERMS, signed
from amix.train.options.config import TrainConfig
from amix.train.run.log import ScoreLine
from amix.train.run.train import train

HOSTILE = '<script>alert(1)</script><img src=x onerror="alert(2)"> & "it\'s"'
VOID = {"meta", "link", "img", "br", "hr"}


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
    for heading in ("Result", "Calibration", "Training", "Texts, shaded", "Run it again"):
        assert re.search(f"<h2[^>]*>{heading}", text)
    assert "from head 0.1" in text
    # Test, test by the temperature of the development set, and that set itself.
    assert len(re.findall(r"<h3>test, logits / \d", text)) == 1
    assert text.count("how sure, and how often right") == 3
    for name in (
        "accuracy",
        "macro_f1",
        "nll",
        "brier",
        "ece",
    ):  # each is explained once, and says what is better
        assert text.count(escape(TERMS[name].means)) == 1
        assert f"{TERMS[name].name} <small>{TERMS[name].direction}</small>" in text
    assert escape("lr: 0.003\n") in text
    assert f"torch {importlib.metadata.version('torch')}" in text
    assert not re.search(r"https?://|<link|<img|<script|@import|url\(", text)


def test_pages_name_no_place_of_this_machine(
    run: Path, comparison: Path, reviews: Path, tiny_bert: Path, tmp_path: Path
) -> None:
    for folder in (run, comparison):
        text = made(folder, tmp_path / "page.html")
        assert tiny_bert.name in text
        for place in (folder, reviews, tiny_bert):
            assert str(place.parent) not in text
    assert place_name("/home/someone/minilm") == place_name("../../someone/minilm") == "minilm"
    assert place_name("s3://key:secret@host/bucket/caches/train/?signature=x") == "train"
    assert place_name("sentence-transformers/all-MiniLM-L6-v2") == "sentence-transformers/all-MiniLM-L6-v2"


def test_a_page_is_called_by_its_folder_wherever_one_stands(
    comparison: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(comparison)
    assert "<h1>Comparison comparison</h1>" in made(Path(), tmp_path / "page.html")


def test_a_run_is_read_as_it_was_written(run: Path) -> None:
    record = RunRecord.read(run)
    assert record.as_dict() == yaml.safe_load((run / "config.yaml").read_text())
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line.as_dict() for line in record.log] == lines
    assert [line.kind for line in record.log if isinstance(line, ScoreLine)] == ["dev", "dev", "dev", "eval"]
    done = CliRunner().invoke(main, ["info", str(run), "--json"])
    shown = json.loads(done.stdout.splitlines()[-1])
    found = {"model_kept": True, "checkpoints": []}
    assert shown == {"kind": "run", **found, **record.as_dict(), "last": lines[-1]}


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
    assert (f"from head {result.head};" in text) == (head == "auto")
    # Where heads took turns there is not one to shade by.
    assert ("Texts, shaded" in text) == (head == "auto")
    assert result.temperature is not None
    for name in ("b", "dev"):
        assert text.count(f'<th scope="row">{name}, logits / {result.temperature:.2f}</th>') == 1

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
    assert escape(in_short(rows)) in text
    for row in rows:
        assert f'<th scope="row">{row.method}' in text
        for found in [row.differences[metric] for metric in ("accuracy", "nll", "ece") if row.differences]:
            assert f"{signed(found.mean)} <small>{signed(found.low)} to {signed(found.high)}</small>" in text
    assert "<h3>accuracy minus that of none (higher is better)</h3>" in text
    assert "<h3>NLL minus that of none (lower is better)</h3>" in text
    assert "Accuracy by layer and head" in text  # three single heads were compared
    assert "1 of 1 runs mixed nothing" not in text
    assert "2 of 2 runs mixed nothing" in text  # p auto begins at 0, and there is one epoch
    assert "methods:\n" in text
    assert not re.search(r"https?://|<link|<img|<script|@import|url\(", text)


def test_kept_results_are_shown_with_p_values_and_what_sets_rows_apart() -> None:
    folder = Path(__file__).parents[3] / "docs" / "results" / "few"
    text = comparison_page(folder, Comparison.read(folder), written_grid(folder))
    parsed(text)
    (row,) = (
        row
        for row in Comparison.read(folder).rows
        if (row.corpus, row.samples, row.method) == ("trec", 100, "wordmixup")
    )
    found = row.differences["nll"]
    assert re.search(
        rf'<th scope="row">wordmixup</th><td>{re.escape(signed(found.mean))} .{{,400}}<td>clearly worse</td>'
        rf"<td>{row.corrected['nll']:.3f}</td><td>10</td>",
        text,
    )
    assert text.count("The methods have 10 or 5 seeds.") == 4
    assert text.count("attentionmix: p auto mixed nothing in 8 of 10 runs") == 2
    assert text.count(escape(TERMS["nll"].means)) == 1  # explained where it first stands


def test_other_folders_are_refused(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["report", str(tmp_path)])
    assert done.exit_code == 1
    assert f"{tmp_path}: is not a run" in done.stderr
    (tmp_path / "comparison.json").write_text("{}")
    done = CliRunner().invoke(main, ["report", str(tmp_path)])
    assert "comparison.json: cannot be read" in done.stderr


def test_names_are_text_wherever_they_stand() -> None:
    found = Found(
        HOSTILE, Difference(mean=0.1, low=0.0, high=0.2, p=None, seeds=2), None, "no clear difference"
    )
    body = [
        table([HOSTILE], [[HOSTILE]], HOSTILE),
        table([titled(HOSTILE, HOSTILE)], [[1]], HOSTILE),
        curve([(0, 1), (1, 2)], HOSTILE, HOSTILE, HOSTILE, kept=1),
        heat_map([[0.5, None]], [HOSTILE], [HOSTILE, "b"], SHARES, HOSTILE),
        differences([found], TERMS["nll"], HOSTILE),
        reliability([1], [0.5], [0.5], HOSTILE),
    ]
    text = page(HOSTILE, HOSTILE, [(HOSTILE, "".join(body))])
    elements = parsed(text)
    assert not {"script", "img"} & set(elements.names)


def test_charts_of_little_or_nothing() -> None:
    nan = float("nan")
    assert curve([], "a", "", "x") == curve([(1, nan)], "a", "", "x") == ""
    assert differences([], TERMS["ece"], "none") == reliability([0, 0], [0.2, 0.8], [0, 0], "a") == ""
    nothing = Difference(mean=0.0, low=0.0, high=0.0, p=None, seeds=1)
    for chart in (
        curve([(1, 3.0)], "a", "", "x"),
        curve([(1, 3.0), (2, nan), (3, 3.0)], "a", "", "x"),
        curve([(1, 0.0), (2, 0.0)], "a", "", "x"),
        heat_map([[nan]], ["a"], ["b"], SHARES, "x"),
        differences([Found("a", nothing, None, "no clear difference")], TERMS["ece"], "none"),
    ):
        parsed(chart)
        assert "nan" not in chart


def test_tracks_lie_where_their_numbers_say() -> None:
    found = [
        Found(name, Difference(mean=mean, low=low, high=high, p=0.01, seeds=10), 0.01, "clearly better")
        for name, mean, low, high in (("a", 0.0, -1.0, 1.0), ("b", 0.5, 0.0, 1.0))
    ]
    chart = differences(found, TERMS["accuracy"], "none")
    spans = re.findall(r'class="better" style="left:([\d.]+)%;width:([\d.]+)%"', chart)
    assert spans == [("0.0", "100.0"), ("50.0", "50.0")]
    assert re.findall(r'class="dot better" style="left:([\d.]+)%"', chart) == ["50.0", "75.0"]
    assert chart.count('class="zero" style="left:50%"') == 2
    # The right is where the larger number is; whether that is better depends on the metric.
    assert "← worse</span><span>better →" in chart
    assert "← better</span><span>worse →" in differences(found, TERMS["nll"], "none")


def test_epochs_have_whole_numbers_and_values_begin_at_zero() -> None:
    for epochs in (1, 2, 3, 8, 40):
        chart = curve(
            [(epoch, 0.9 + epoch / 1000) for epoch in range(1, epochs + 1)], "a", "", "epoch", high=1.0
        )
        ticks = re.findall(r'class="x"[^>]*>([^<]+)<', chart)
        assert 1 <= len(ticks) <= 8
        assert all(tick.isdigit() and 1 <= int(tick) <= epochs for tick in ticks)
        assert re.findall(r'class="y"[^>]*>([^<]+)<', chart)[0] == "0"


def test_a_colour_says_the_same_on_every_page() -> None:
    def shares(values: list[float | None], scale: Scale) -> list[str]:
        return re.findall(r"--share:(\d+)%", heat_map([values], ["a"], list(map(str, values)), scale, "x"))

    assert shares([0.90, 0.91], SHARES) == ["90", "91"]  # not from pale to dark
    around = Scale(low=0.0, high=2.0, middle=1.0)
    assert shares([1.0, 1.5, 0.5, 3.0], around) == ["0", "50", "50", "100"]
    chart = heat_map([[0.5]], ["a"], ["b"], around, "x")
    assert '<td class="under"' in chart
    assert "<span>0</span>" in chart and "<span>2</span>" in chart  # the scale is shown
