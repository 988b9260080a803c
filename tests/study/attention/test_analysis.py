"""What heads attend to, on caches where it is known."""

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from amix.cli import main
from amix.engine.base.errors import TrainError
from amix.engine.base.installing import install
from amix.loaders.stream.dataset import RelevanceDataset
from amix.study.attention.analysis import Analysis, analyse
from amix.study.report.heads import analysis_page
from tests.loaders.forge import forge


def test_shares_equal_a_plain_loop(reviews: Path) -> None:
    analysis = analyse(reviews)
    dataset = RelevanceDataset(reviews, head="1.0")
    special: dict[int, list[float]] = {101: [], 102: []}
    entropies, positions, places = [], np.zeros(10), np.zeros(10)
    for number in range(len(dataset)):
        sample: Any = dataset[number]
        ids, relevance = sample["input_ids"].tolist(), sample["relevance"].astype(float)
        inside = [r for r, is_content in zip(relevance, sample["content"], strict=True) if is_content]
        ends = (ids[0], ids[-1])
        for name, identity in zip(special, ends, strict=True):
            mine = [r for r, each in zip(relevance, ids, strict=True) if each == identity]
            special[name].append(sum(mine) / relevance.sum())
        shares = [r / sum(inside) for r in inside]
        entropies.append(-sum(s * np.log(s) for s in shares) / np.log(len(shares)))
        for place, share in enumerate(shares):
            positions[place * 10 // len(shares)] += share
            places[place * 10 // len(shares)] += 1 / len(shares)
    (found,) = (each for each in analysis.heads if (each.layer, each.head) == (1, 0))
    assert analysis.texts == len(dataset) == 40
    assert found.entropy == pytest.approx(np.mean(entropies))
    assert found.position == pytest.approx((positions / places).tolist())
    assert found.special == pytest.approx({"[CLS]": np.mean(special[101]), "[SEP]": np.mean(special[102])})
    assert found.kinds == {}


def test_heads_agree_as_their_relevance_correlates(reviews: Path) -> None:
    dataset = RelevanceDataset(reviews, head="0.0|0.1|1.0|1.1")
    correlations = []
    for number in range(len(dataset)):
        sample: Any = dataset[number]
        correlations.append(np.corrcoef(sample["relevance"][:, sample["content"]].astype(float)))
    np.testing.assert_allclose(analyse(reviews).agreement, np.mean(correlations, axis=0), atol=1e-9)


def test_a_draw_is_that_of_its_seed(reviews: Path) -> None:
    one, other = (analyse(reviews, samples=10, subset_seed=seed) for seed in (0, 1))
    assert one == analyse(reviews, samples=10, subset_seed=0)
    assert one.texts == other.texts == 10
    assert one != other


def test_a_damaged_analysis_is_refused(tmp_path: Path) -> None:
    for text in ("{", "[]", '{"texts": 1, "agreement": [], "heads": [{"layer": 0}]}'):
        (tmp_path / "analysis.json").write_text(text)
        with pytest.raises(TrainError, match=r"analysis\.json: cannot be read .* Run 'amix analyse' again"):
            Analysis.read(tmp_path)


def test_kinds_of_words_are_those_of_whole_words(reviews: Path) -> None:
    seen: list[Sequence[str]] = []

    def tagger(words: Sequence[str]) -> list[str]:
        seen.append(words)
        return ["vowel" if word[0] in "aeiou" else "other" for word in words]

    analysis = analyse(reviews, tagger=tagger)
    assert not any(word.startswith("##") for words in seen for word in words)
    for each in analysis.heads:
        assert each.kinds.keys() == {"vowel", "other"}
        # Over both kinds the shares make a whole: one is above its part where the other is below.
        assert (each.kinds["vowel"] - 1) * (each.kinds["other"] - 1) <= 1e-12


def test_a_cache_without_words_is_refused(tmp_path: Path) -> None:
    folder = forge(tmp_path / "x", [2, 3, 2])
    (folder / "tokenizer.json").write_text(
        '{"version":"1.0","model":{"type":"WordLevel","vocab":{},"unk_token":""}}'
    )
    with pytest.raises(TrainError, match="no text that was drawn has two words"):
        analyse(folder)


def test_the_command_writes_a_page_and_json(reviews: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["analyse", str(reviews), str(tmp_path / "out"), "--samples", "20"])
    assert done.exit_code == 0, done.output
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["head", "0.0", "0.1", "1.0", "1.1"]
    assert Analysis.read(tmp_path / "out") == analyse(reviews, samples=20)
    page = (tmp_path / "out" / "analysis.html").read_text()
    assert page.count("<figure>") == 5  # entropy, two special tokens, places, agreement
    assert page.count('class="scale"') == 5
    assert "Run amix analyse with <code>--tag</code>" in page
    assert "layer 1, tenth 10: " in page  # the last tenth of the text, in the last layer
    assert str(reviews.parent) not in page


def test_a_single_layer_is_shown_head_by_head(
    make_shards: Callable[..., Path], review_rows: list[dict[str, Any]]
) -> None:
    layer = analyse(make_shards(review_rows[:8], heads="1"))
    page = analysis_page(layer, "shards")
    assert "head 1.0, tenth 10: " in page and "head 1.1, tenth 10: " in page
    assert f"head 1.0, head 1: {layer.agreement[0][1]:.4g}" in page
    single = analyse(make_shards(review_rows[:8], heads="1.1"))
    assert "Which heads agree" not in analysis_page(single, "shards")  # with itself it always does


@pytest.mark.skipif(importlib.util.find_spec("HanTa") is None, reason="the extra [pos] is not installed")
def test_words_are_tagged_by_part_of_speech(reviews: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["analyse", str(reviews), str(tmp_path / "out"), "--tag", "en"])
    assert done.exit_code == 0, done.output
    first = Analysis.read(tmp_path / "out").heads[0]
    assert {"NN1", "AJ0"} <= first.kinds.keys()
    assert "largest" in (tmp_path / "out" / "analysis.html").read_text()


@pytest.mark.skipif(importlib.util.find_spec("HanTa") is not None, reason="the extra [pos] is installed")
def test_the_tagger_is_an_extra(reviews: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["analyse", str(reviews), str(tmp_path / "out"), "--tag", "en"])
    assert done.exit_code == 1
    assert install("pos") in done.stderr
