"""What a page says was mixed: a page called by a mixing method may be about plain fine-tuning."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from amix.study.report.mixed import mixing_of
from amix.study.report.run import run_page
from amix.train.run.log import ScoreLine
from tests.study.report.made import run_record


@pytest.mark.parametrize(
    ("options", "says", "is_missing"),
    [
        ({"method": "none"}, "Nothing was mixed: the method is none", False),
        (
            {"dev_p": (0.0, 0.0, 0.4)},
            "Nothing was mixed, so this is plain fine-tuning. p auto mixes once",
            True,
        ),
        (
            {"dev_p": (0.0,), "kept": 1},
            "Nothing was mixed, so this is plain fine-tuning. p auto mixes once",
            True,
        ),
        ({"kept": 1}, "it is from epoch 1, and p auto began to mix in epoch 3", True),
        ({"kept": 2}, "it is from epoch 2, and p auto began to mix in epoch 3", True),
        ({"kept": 3}, "(p auto); up to epoch 3, whose model was kept, it was at most 40 %", False),
        (
            {"p": "learnt", "kept": 2},
            "The model saw nothing mixed, so this is plain fine-tuning. p learnt waits",
            True,
        ),
        (
            {"p": "learnt"},
            "by attentionmix with head 0.mean from epoch 3 on, when the mean training loss had",
            False,
        ),
        ({"p": 0.0}, "Nothing was mixed, so this is plain fine-tuning: p is 0.", True),
        ({"strength": 0.0}, "Nothing was mixed, so this is plain fine-tuning: strength is 0.", True),
        (
            {"p": 0.5},
            "Each row was mixed with a probability of 50 % by attentionmix with head 0.mean.",
            False,
        ),
        (
            {"p": 1.0, "relevance_source": "permuted"},
            "with head 0.mean, its relevance dealt out to the words at random.",
            False,
        ),
        ({"method": "tmix", "p": 1.0}, "Every row was mixed by tmix.", False),
        ({"p": 1.0, "unpaired": 2}, "6 times a row found no partner and stayed as it was.", False),
    ],
)
def test_a_page_says_what_was_mixed(
    options: dict[str, Any], says: str, is_missing: bool, tmp_path: Path
) -> None:
    run = run_record(tmp_path, **options)
    found = mixing_of(run)
    assert says in found.sentence
    assert found.is_missing == is_missing
    text = run_page(run)
    assert says.replace("'", "&#x27;").replace(" %", "\u00a0%") in text
    assert ("<code>--p</code>" in text) == ("--p" in found.sentence)
    assert ('<p class="note">' in text) == (": nothing was mixed</title>" in text) == is_missing


def test_folds_and_ensembles_are_called_so(tmp_path: Path) -> None:
    run = run_record(tmp_path)
    run = replace(run, inputs=replace(run.inputs, dev="cv:5"))
    evaluated = next(line for line in run.log if isinstance(line, ScoreLine) and line.kind == "eval")
    run = replace(run, log=(*run.log, replace(evaluated, kind="ensemble")))
    kept = tmp_path / "predictions" / "eval-test.safetensors"
    kept.with_name("ensemble-test.safetensors").write_bytes(kept.read_bytes())
    text = run_page(run)
    assert (
        "followed the confidence on the training texts, each by a model that was trained without it" in text
    )
    assert "development set" not in text
    assert "dashed line" not in text  # those are curves of other models
    assert text.count('<th scope="row">test, ensemble</th>') == 2
    assert "On test, ensemble, 2,400 texts, the model was right" in text


def test_the_share_of_an_epoch_is_what_the_one_before_decided(tmp_path: Path) -> None:
    found = mixing_of(run_record(tmp_path))
    assert found.by_epoch == (0.0, 0.0, 0.4)
    assert mixing_of(run_record(tmp_path, p=0.5)).by_epoch == ()
