"""Whole runs on real shards: what is written, what is selected, and what is refused before anything is."""

import json
import shutil
import statistics
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file

from amix.engine.base import canonical
from amix.engine.base.errors import ConfigError, DeviceError, HeadError, TrainError, UsageError
from amix.loaders.stream.collate import as_tensors
from amix.loaders.stream.dataset import RelevanceDataset
from amix.study.report.mixed import mixing_of
from amix.study.runs import RunRecord
from amix.train.model.forward import forward
from amix.train.objective.mixers import followed, least_loss, once_learnt
from amix.train.options.auto import EVEN, KNOWN
from amix.train.options.config import TrainConfig
from amix.train.options.file import Inputs, read_config, resolve
from amix.train.options.methods import USES
from amix.train.run import checkpoint
from amix.train.run import loop as run
from amix.train.run.data.sets import open_sets
from amix.train.run.data.subset import draw_subset, hold_out
from amix.train.run.files import MODEL
from amix.train.run.log import HeadLine, LossLine, ScoreLine, parse_line, read_log
from amix.train.run.optim import build_optimizer, learning_rate
from amix.train.run.result import KeptResult, TrainResult
from amix.train.run.train import train
from amix.train.score.evaluate import Predictions, open_eval_set, predict
from amix.train.score.metrics import calibration, report
from amix.train.score.temperature import fit_temperature

FAST: dict[str, Any] = {"lr": 3e-3, "batch_size": 8, "epochs": 1, "device": "cpu"}
MIXED = {**FAST, "p": 0.5}


def lines(run: Path) -> list[dict[str, Any]]:  # JSON
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_overfits_a_tiny_set_and_opens_in_transformers(
    reviews: Path, still_bert: Path, tmp_path: Path
) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    run = tmp_path / "run"
    config = TrainConfig(**{**FAST, "epochs": 25, "lr": 1e-2, "method": "none", "samples": 16})
    result = train(reviews, run, str(still_bert), config, evals=[("train", reviews)])
    losses = [line["loss"] for line in lines(run) if "loss" in line]
    assert losses[-1] < 0.2 < losses[0]
    assert (result.epoch, result.steps, result.dev) == (25, 50, None)
    assert result.model == run / "model"

    assert result.model is not None
    model = AutoModelForSequenceClassification.from_pretrained(result.model)
    assert model.config.id2label == {0: "bad", 1: "good"}
    assert model.config.label2id == {"bad": 0, "good": 1}
    assert model.config.problem_type == "single_label_classification"
    assert next(model.parameters()).dtype == torch.float32
    logits, labels = predict(model, RelevanceDataset(reviews, head=None))
    assert report(logits, labels) == result.eval["train"]

    tokenizer = AutoTokenizer.from_pretrained(result.model)
    first = RelevanceDataset(reviews)[0]
    assert tokenizer("The film is warm.")["input_ids"] == first["input_ids"].tolist()


RUNS: dict[str, dict[str, Any]] = {
    **{method: {"method": method} for method in USES},
    "wordmixup, same class": {"method": "wordmixup", "partner": "same-class"},
    "attentionmix, hidden": {"level": "hidden:1"},
    "attentionmix, several heads": {"head": "0.1|1.mean"},
    "attentionmix, online": {"relevance_source": "online", "head": "1.0"},
    "attentionmix, permuted": {"relevance_source": "permuted"},
}


@pytest.mark.parametrize("name", RUNS)
def test_equal_runs_are_equal(
    name: str, reviews: Path, held_out: Path, tiny_bert: Path, tmp_path: Path
) -> None:
    config = TrainConfig(p=0.7, clean_weight=0.3, log_steps=2, **{**FAST, **RUNS[name]})
    results: list[TrainResult] = []
    for name in ("a", "b"):
        torch.manual_seed(len(results))  # what the caller drew before must not matter
        results.append(train(reviews, tmp_path / name, str(tiny_bert), config, evals=[("eval", held_out)]))
        assert torch.initial_seed() == len(results) - 1
    assert results[0].eval == results[1].eval
    assert (tmp_path / "a" / "metrics.jsonl").read_bytes() == (tmp_path / "b" / "metrics.jsonl").read_bytes()
    assert contents(tmp_path / "a" / "model") == contents(tmp_path / "b" / "model")
    other = train(
        reviews,
        tmp_path / "c",
        str(tiny_bert),
        resolve(config.as_dict(), {"seed": 1}),
        evals=[("eval", held_out)],
    )
    assert other.eval != results[0].eval


def test_an_option_reaches_the_loss(reviews: Path, held_out: Path, tiny_bert: Path, tmp_path: Path) -> None:
    options: tuple[dict[str, Any], ...] = (
        {},
        {"relevance_source": "permuted"},
        {"label_smoothing": 0.2},
        {"alpha": 0.2},
        {"method": "ssmix", "span_share": 0.1},
        {"method": "ssmix", "span_share": 0.5},
    )
    found = set()
    for number, each in enumerate(options):
        config = TrainConfig(**FAST, **each, p=1.0)
        result = train(reviews, tmp_path / str(number), str(tiny_bert), config, evals=[("eval", held_out)])
        assert result.head == (None if each.get("method") == "ssmix" else "0.mean")
        found.add(result.eval["eval"]["nll"])
    assert len(found) == len(options)


def test_the_run_folder(reviews: Path, held_out: Path, tiny_bert: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    config = TrainConfig(**{**FAST, "epochs": 2, "log_steps": 3})
    train(reviews, run, str(tiny_bert), config, dev=held_out, evals=[("test", held_out)])
    names = {"model", "config.yaml", "metrics.jsonl", "predictions", "tensorboard"}
    assert {path.name for path in run.iterdir()} == names
    assert any((run / "tensorboard").iterdir())
    options, inputs = read_config(run / "config.yaml")
    assert resolve(options, {}) == config.settled(has_dev=True)
    assert inputs == Inputs(
        shards=str(reviews), model=str(tiny_bert), dev=str(held_out), evals={"test": str(held_out)}
    )
    logged = lines(run)
    assert [(line["step"], line["epoch"]) for line in logged if "loss" in line] == [
        (3, 1),
        (6, 2),
        (9, 2),
        (10, 2),
    ]
    assert [(line["kind"], line["epoch"]) for line in logged if "kind" in line][:2] == [
        ("dev", 1),
        ("dev", 2),
    ]


def test_dev_selects_and_eval_only_reports(
    reviews: Path, held_out: Path, tiny_bert: Path, tmp_path: Path
) -> None:
    config = TrainConfig(**{**FAST, "epochs": 4, "lr": 1e-2, "method": "none"})
    sets = [("held_out", held_out), ("train", reviews)]
    by_dev = train(reviews, tmp_path / "dev", str(tiny_bert), config, dev=held_out, evals=sets)
    last = train(reviews, tmp_path / "last", str(tiny_bert), config, evals=sets)
    by_epoch = {line["epoch"]: line for line in lines(tmp_path / "dev") if line.get("kind") == "dev"}
    best = max(by_epoch, key=lambda epoch: (by_epoch[epoch]["accuracy"], -by_epoch[epoch]["nll"], -epoch))
    assert by_dev.epoch == best
    assert by_dev.dev == by_dev.eval["held_out"] == {name: by_epoch[best][name] for name in by_dev.dev or ()}
    assert last.epoch == 4
    assert last.dev is None
    assert last.eval["held_out"]["nll"] == by_epoch[4]["nll"]  # looking at the dev set changes no weight


def test_a_share_of_the_training_texts_is_held_out_to_select(
    reviews: Path, tiny_bert: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    config = TrainConfig(**{**FAST, "epochs": 2, "samples": 30, "subset_seed": 3, "log_steps": 1})
    result = train(reviews, run, str(tiny_bert), config, dev="0.2", evals=[("all", reviews)])
    drawn = draw_subset(40, 30, 3, reviews)
    assert drawn is not None
    labels = RelevanceDataset(reviews).class_ids()[drawn]
    kept = Predictions.load(run / "predictions" / "dev.safetensors")
    assert kept.rows.tolist() == drawn[hold_out(labels, 0.2, 3)].tolist()
    assert result.dev == kept.report()
    assert result.steps == 2 * 3  # batches of 8 of 24 texts
    assert result.temperature == pytest.approx(kept.temperature(), rel=1e-5)
    options, inputs = read_config(run / "config.yaml")
    assert (options["p"], inputs.dev) == ("auto", "0.2")
    rows = set(Predictions.load(run / "predictions" / "eval-all.safetensors").rows.tolist())
    assert set(kept.rows.tolist()) < rows


def test_accumulated_batches_make_one_step(reviews: Path, tiny_bert: Path, tmp_path: Path) -> None:
    config = TrainConfig(**MIXED, gradient_accumulation=2, log_steps=1)  # 5 batches: 2 + 2 + 1
    result = train(reviews, tmp_path / "run", str(tiny_bert), config)
    assert result.steps == 3
    assert [line["step"] for line in lines(tmp_path / "run")] == [1, 2, 3]


def test_accumulated_batches_are_one_large_one(
    reviews: Path, still_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Steps of AdamW, and clipped ones, would hide a wrong scale.
    monkeypatch.setattr(
        run, "build_optimizer", lambda model, config: torch.optim.SGD(model.parameters(), config.lr)
    )
    weights = {}
    for size, accumulated in ((40, 1), (20, 2)):
        config = TrainConfig(
            **{**FAST, "lr": 0.5, "batch_size": size, "method": "none"},
            gradient_accumulation=accumulated,
            max_grad_norm=0.0,
            warmup_ratio=0.0,
        )
        result = train(reviews, tmp_path / str(size), str(still_bert), config)
        assert result.steps == 1 and result.model is not None
        weights[size] = load_file(result.model / "model.safetensors")
    for name, value in weights[40].items():
        assert torch.allclose(weights[20][name], value, atol=1e-5), name


def test_bf16_on_the_cpu(reviews: Path, held_out: Path, tiny_bert: Path, tmp_path: Path) -> None:
    runs = {}
    for precision in ("bf16", "no"):  # in one process, one after the other
        config = TrainConfig(**MIXED, mixed_precision=precision)
        runs[precision] = train(
            reviews, tmp_path / precision, str(tiny_bert), config, evals=[("eval", held_out)]
        )
    assert runs["bf16"].eval["eval"] != runs["no"].eval["eval"]
    assert runs["bf16"].eval["eval"]["nll"] == pytest.approx(runs["no"].eval["eval"]["nll"], abs=0.1)


def test_a_loss_that_is_not_finite_stops_the_run(reviews: Path, tiny_bert: Path, tmp_path: Path) -> None:
    from transformers import AutoModel, AutoTokenizer

    broken = AutoModel.from_pretrained(tiny_bert)
    with torch.no_grad():
        broken.embeddings.word_embeddings.weight[5:] = float("nan")
    broken.save_pretrained(tmp_path / "broken")
    AutoTokenizer.from_pretrained(tiny_bert).save_pretrained(tmp_path / "broken")
    with pytest.raises(
        TrainError, match=r"loss is nan at step 1; its batch begins with rows 0000000000\d\d, "
    ):
        train(reviews, tmp_path / "run", str(tmp_path / "broken"), TrainConfig(**FAST, method="none"))
    assert not (tmp_path / "run" / "model").exists()


class TestRefused:
    """Before anything is written."""

    @pytest.fixture
    def refused(self, reviews: Path, tiny_bert: Path, tmp_path: Path) -> Callable[..., None]:
        def check(error: type[Exception], says: str, **changed: Any) -> None:
            options = {**FAST, **changed.pop("options", {})}
            arguments = {"shards": reviews, "out": tmp_path / "run", "model": str(tiny_bert), **changed}
            with pytest.raises(error, match=says):
                train(config=TrainConfig(**options), **arguments)
            assert not (tmp_path / "run").exists()

        return check

    def test_another_tokenizer(self, refused: Callable[..., None], tiny_bert: Path, tmp_path: Path) -> None:
        other = tmp_path / "other"
        shutil.copytree(tiny_bert, other)
        text = (other / "tokenizer.json").read_text()
        assert '"lowercase": true' in text or '"lowercase":true' in text
        for name in ("tokenizer.json", "tokenizer_config.json"):
            content = (other / name).read_text()
            for colon in (": ", ":"):
                content = content.replace(f'"lowercase"{colon}true', f'"lowercase"{colon}false')
                content = content.replace(f'"do_lower_case"{colon}true', f'"do_lower_case"{colon}false')
            (other / name).write_text(content)
        refused(
            TrainError,
            r"its tokenizer \(\w{12}\) is not the one of .* \(\w{12}\).*precompute",
            model=str(other),
        )

    def test_a_head_that_is_not_there(self, refused: Callable[..., None]) -> None:
        refused(HeadError, r"head '0.8': .* does not hold it\. It holds layers 0, 1", options={"head": "0.8"})

    def test_a_gpu_that_is_not_there(self, refused: Callable[..., None]) -> None:
        number = torch.cuda.device_count()
        refused(DeviceError, f"device is 'cuda:{number}'", options={"device": f"cuda:{number}"})
        refused(UsageError, "must be cpu, cuda or cuda:N", options={"device": "gpu"})
        refused(DeviceError, "fp16 needs a GPU", options={"mixed_precision": "fp16"})

    def test_models_that_do_not_load(self, refused: Callable[..., None], tmp_path: Path) -> None:
        refused(UsageError, "no such folder", model=str(tmp_path / "none"))
        (tmp_path / "empty").mkdir()
        refused(TrainError, "config.json is missing", model=str(tmp_path / "empty"))

    def test_a_model_without_room(
        self, refused: Callable[..., None], tiny_bert: Path, tmp_path: Path
    ) -> None:
        from transformers import AutoTokenizer, BertConfig, BertModel

        changes: list[tuple[str, dict[str, Any], str]] = [
            ("short", {"max_position_embeddings": 4}, "room for 4 tokens.*--max-length 4"),
            ("poor", {"vocab_size": 20}, "20 word embeddings"),
        ]
        for name, change, says in changes:
            config = BertConfig.from_pretrained(tiny_bert, **change)
            BertModel(config).save_pretrained(tmp_path / name)
            AutoTokenizer.from_pretrained(tiny_bert).save_pretrained(tmp_path / name)
            refused(TrainError, says, model=str(tmp_path / name))

    def test_evaluation_sets(
        self, refused: Callable[..., None], make_shards: Any, held_out: Path, tmp_path: Path
    ) -> None:
        strange = make_shards([{"text": "a film", "label": "good"}, {"text": "a plot", "label": "odd"}])
        refused(
            TrainError, "has the class 'odd', which the training shards do not have", evals=[("e", strange)]
        )
        refused(TrainError, "'odd'", dev=strange)
        bare = make_shards([{"text": "a film"}], no_labels=True)
        refused(TrainError, "holds no labels.*without --no-labels", evals=[("e", bare)])
        refused(TrainError, "holds no labels", shards=bare)
        refused(UsageError, "same name", evals=[("e", held_out), ("e", held_out)])

    def test_one_class_or_too_few_samples(self, refused: Callable[..., None], make_shards: Any) -> None:
        refused(
            TrainError, "the one class 'good'", shards=make_shards([{"text": "a film", "label": "good"}] * 2)
        )
        refused(UsageError, "samples is 41, but .* holds 40", options={"samples": 41})
        refused(UsageError, "--dev 0.01 would hold out 0 of 40 training texts", dev="0.01")
        refused(ConfigError, r"dev is 20; a share .* write \./20", dev="20")

    def test_a_folder_with_other_work(self, reviews: Path, tiny_bert: Path, tmp_path: Path) -> None:
        (tmp_path / "thesis.tex").write_text("work")
        for resume in (False, True):
            with pytest.raises(UsageError, match=r"already holds other work \(thesis.tex\)"):
                train(reviews, tmp_path, str(tiny_bert), TrainConfig(**FAST), resume=resume)
        assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_classes_are_matched_by_name(
    make_shards: Any,
    reviews: Path,
    held_out: Path,
    review_rows: list[dict[str, Any]],
    tiny_bert: Path,
    tmp_path: Path,
) -> None:
    rows = [{**row, "label": ("bad", "good")[row["label"]]} for row in review_rows[40:]]
    turned = make_shards(rows, labels=("good", "bad"))
    lacking = make_shards([row for row in rows if row["label"] == "good"])
    assert RelevanceDataset(turned).manifest.label_names == ("good", "bad")
    sets = [("plain", held_out), ("turned", turned), ("lacking", lacking)]
    result = train(reviews, tmp_path / "run", str(tiny_bert), TrainConfig(**MIXED), evals=sets)
    assert result.eval["turned"] == result.eval["plain"]
    plain = Predictions.load(tmp_path / "run" / "predictions" / "eval-plain.safetensors")
    is_good = plain.truth == 1
    found = Predictions.load(tmp_path / "run" / "predictions" / "eval-lacking.safetensors")
    assert np.allclose(found.logits_NC, plain.logits_NC[is_good], atol=1e-6)
    right = plain.logits_NC[is_good].argmax(axis=1) == 1
    assert result.eval["lacking"]["accuracy"] == pytest.approx(right.mean())
    opened = open_eval_set(lacking, RelevanceDataset(reviews).manifest)
    assert opened.class_ids.tolist() == [1]


def test_class_weights_train_as_multi_label(make_shards: Any, tiny_bert: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification

    rows = [
        {"text": f"the {a} film is {b}", "label": [float(a == "short"), float(b == "warm"), 0.0]}
        for a in ("short", "long")
        for b in ("warm", "dull")
    ]
    shards = make_shards(rows * 4)
    assert RelevanceDataset(shards).manifest.multi_label
    result = train(shards, tmp_path / "run", str(tiny_bert), TrainConfig(**FAST), evals=[("eval", shards)])
    assert result.eval["eval"].keys() == {"accuracy", "macro_f1", "nll", "ece"}
    # Their loss does not say when they are known, so p learnt mixes from the start.
    assert result.largest_p == EVEN
    assert "with a probability of 50 %" in mixing_of(RunRecord.read(tmp_path / "run")).sentence
    assert result.model is not None
    saved = json.loads((result.model / "config.json").read_text())
    assert saved["problem_type"] == "multi_label_classification"
    logits, truth = predict(
        AutoModelForSequenceClassification.from_pretrained(result.model), RelevanceDataset(shards)
    )
    assert truth.shape == logits.shape == (16, 3)


@pytest.mark.parametrize("method", [method for method in USES if method != "none"])
def test_pairs_of_texts_train_with_their_token_types(
    method: str, make_shards: Any, review_rows: list[dict[str, Any]], tiny_bert: Path, tmp_path: Path
) -> None:
    from transformers import AutoModel, AutoModelForSequenceClassification

    rows = [
        {"text": one["text"], "other": two["text"], "label": int(one["label"] == two["label"])}
        for one, two in zip(review_rows[:16], review_rows[16:32], strict=True)
    ]
    shards = make_shards(rows, pair_column="other")
    sample = RelevanceDataset(shards)[0]
    assert set(sample["token_type_ids"].tolist()) == {0, 1}
    config = TrainConfig(**{**FAST, "method": method})
    result = train(shards, tmp_path / "run", str(tiny_bert), config, evals=[("eval", shards)])
    assert result.model is not None
    model = AutoModelForSequenceClassification.from_pretrained(result.model)
    # The second text's type was learnt, and changes what the model says.
    name = "bert.embeddings.token_type_embeddings.weight"
    before = AutoModel.from_pretrained(tiny_bert).state_dict()[name.removeprefix("bert.")]
    assert bool((model.state_dict()[name] != before).any(dim=1).all())
    dataset = RelevanceDataset(shards, head=None)
    logits, labels = predict(model, dataset)
    assert report(logits, labels) == result.eval["eval"]
    batch = as_tensors(dataset.batch(np.arange(len(dataset))))
    del batch["token_type_ids"]
    assert not np.allclose(forward(model, batch).detach().numpy(), logits, atol=1e-4)


def test_rows_without_a_partner_are_counted(
    make_shards: Any, review_rows: list[dict[str, Any]], tiny_bert: Path, tmp_path: Path
) -> None:
    rows = [{**row, "label": "odd" if number == 3 else "even"} for number, row in enumerate(review_rows[:8])]
    config = TrainConfig(**{**FAST, "method": "wordmixup", "partner": "same-class", "log_steps": 1})
    train(make_shards(rows), tmp_path / "run", str(tiny_bert), config)
    assert [line["unpaired"] for line in lines(tmp_path / "run") if "loss" in line] == [1]


def test_rows_that_are_not_to_be_mixed_want_no_partner(
    reviews: Path, tiny_bert: Path, tmp_path: Path
) -> None:
    train(reviews, tmp_path / "run", str(tiny_bert), TrainConfig(**FAST, method="none", log_steps=1))
    assert not any("unpaired" in line for line in lines(tmp_path / "run"))


def test_another_method_takes_its_own_p_from_the_file_of_a_baseline(
    reviews: Path, held_out: Path, tiny_bert: Path, tmp_path: Path
) -> None:
    train(reviews, tmp_path / "base", str(tiny_bert), TrainConfig(**FAST, method="none"), dev=held_out)
    options, _ = read_config(tmp_path / "base" / "config.yaml")
    assert resolve(options, {"method": "attentionmix"}).settled(has_dev=True).p == "auto"


def test_batches_of_one_row_are_not_mixed_in_silence(reviews: Path, tiny_bert: Path, tmp_path: Path) -> None:
    alone = {**MIXED, "batch_size": 1, "samples": 3}
    with pytest.raises(
        UsageError, match=r"batch_size 1, .* group_size 1: a row has no other row to be mixed with"
    ):
        train(reviews, tmp_path / "mixed", str(tiny_bert), TrainConfig(**alone, method="wordmixup"))
    assert not (tmp_path / "mixed").exists()
    assert train(reviews, tmp_path / "plain", str(tiny_bert), TrainConfig(**alone, method="none")).steps == 3


def test_layers_that_a_model_does_not_have_are_refused(
    reviews: Path, tiny_bert: Path, tmp_path: Path
) -> None:
    for options in ({"method": "tmix", "layers": "7,9,12"}, {"level": "hidden:3"}):
        with pytest.raises(TrainError, match="2 layers"):
            train(reviews, tmp_path / "run", str(tiny_bert), TrainConfig(**{**FAST, **options}))
    assert not (tmp_path / "run").exists()


def test_the_rate_rises_and_falls_without_a_wasted_step() -> None:
    config = TrainConfig(lr=1.0, warmup_ratio=0.2)
    rates = [learning_rate(step, 10, config) for step in range(10)]
    assert rates == pytest.approx([1 / 2, 1, 1, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8])
    assert learning_rate(0, 1, TrainConfig(lr=1.0, warmup_ratio=1.0)) == 1.0


def test_biases_and_norms_do_not_decay(tiny_bert: Path) -> None:
    from transformers import AutoModel

    model = AutoModel.from_pretrained(tiny_bert)
    decayed, free = build_optimizer(model, TrainConfig()).param_groups
    assert (decayed["weight_decay"], free["weight_decay"]) == (0.01, 0.0)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    assert all(names[id(p)].endswith("bias") or "LayerNorm" in names[id(p)] for p in free["params"])
    assert len(decayed["params"]) + len(free["params"]) == len(names)
    assert not any("LayerNorm" in names[id(p)] or names[id(p)].endswith("bias") for p in decayed["params"])


def test_predictions_come_in_corpus_order(reviews: Path, tiny_bert: Path) -> None:
    from transformers import AutoModelForSequenceClassification

    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained(tiny_bert, num_labels=2).train()
    dataset = RelevanceDataset(reviews, head=None)
    logits, labels = predict(model, dataset, batch_size=7)
    assert model.training
    assert labels.tolist() == dataset.class_ids().tolist()
    model.eval()
    for number in (0, 17, 39):
        alone = model(input_ids=torch.from_numpy(dataset[number]["input_ids"])[None]).logits
        assert np.allclose(logits[number], alone.detach().numpy()[0], atol=1e-5)


def test_predictions_are_kept(reviews: Path, held_out: Path, tiny_bert: Path, tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    run = tmp_path / "run"
    result = train(reviews, run, str(tiny_bert), TrainConfig(**FAST), dev=reviews, evals=[("test", held_out)])
    kept = load_file(run / "predictions" / "eval-test.safetensors")
    assert kept["rows"].tolist() == RelevanceDataset(held_out).rows().tolist()
    close = pytest.approx(result.eval["test"], abs=1e-6)
    assert report(kept["logits"], kept["truth"]) == close
    on_dev = load_file(run / "predictions" / "dev.safetensors")
    assert report(on_dev["logits"], on_dev["truth"]) == pytest.approx(result.dev, abs=1e-6)
    temperature = fit_temperature(on_dev["logits"], on_dev["truth"])
    assert result.temperature == pytest.approx(temperature, rel=1e-4)
    scaled = calibration(kept["logits"] / temperature, kept["truth"])
    assert result.scaled["test"] == pytest.approx(scaled, abs=1e-5)
    assert result.calibration["test"]["ece"] == result.eval["test"]["ece"]


def test_patience_stops_a_run_that_grows_no_better(
    reviews: Path, held_out: Path, tiny_bert: Path, tmp_path: Path
) -> None:
    # Nothing is learnt at such a rate, so no epoch is better than the first.
    config = TrainConfig(**{**FAST, "lr": 1e-12, "epochs": 9, "patience": 2, "checkpoint_steps": 5})
    result = train(reviews, tmp_path / "run", str(tiny_bert), config, dev=held_out)
    assert (result.epoch, result.steps) == (1, 3 * 5)
    again = train(reviews, tmp_path / "run", str(tiny_bert), config, dev=held_out, resume=True)
    assert (again.epoch, again.steps, again.dev) == (1, 3 * 5, result.dev)
    with pytest.raises(UsageError, match="patience needs --dev"):
        train(reviews, tmp_path / "x", str(tiny_bert), config)


def test_how_often_to_mix_follows_the_development_set(
    reviews: Path, held_out: Path, tiny_bert: Path, tmp_path: Path
) -> None:
    results = {}
    for p in ("auto", 0.0):
        config = TrainConfig(**{**FAST, "lr": 1e-2, "p": p})
        results[p] = train(reviews, tmp_path / str(p), str(tiny_bert), config, dev=held_out)
    assert results["auto"].dev == results[0.0].dev  # the first epoch has clean texts
    (line,) = (line for line in lines(tmp_path / "auto") if line.get("kind") == "dev")
    gap = Predictions.load(tmp_path / "auto" / "predictions" / "dev.safetensors").confidence_gap()
    assert line["p"] == pytest.approx(followed(0.0, gap), abs=1e-5)
    assert results["auto"].largest_p == 0  # in the one epoch that there was

    longer = TrainConfig(**{**FAST, "lr": 1e-2, "p": "auto", "epochs": 8})
    result = train(reviews, tmp_path / "longer", str(tiny_bert), longer, dev=held_out)
    found = [line["p"] for line in lines(tmp_path / "longer") if line.get("kind") == "dev"]
    assert max(found) > 0  # forty texts are soon known by heart
    assert all(0 <= p <= 1 for p in found)
    # What the kept model saw: an epoch is trained with the p that follows from the one before.
    assert result.epoch < longer.epochs
    assert result.largest_p == pytest.approx(max(0.0, *found[: result.epoch - 1]))
    with pytest.raises(UsageError, match="p auto needs --dev"):
        train(reviews, tmp_path / "x", str(tiny_bert), longer)


def test_mixing_can_wait_until_the_training_texts_are_known(
    reviews: Path, still_bert: Path, tmp_path: Path
) -> None:
    every: dict[str, Any] = {"log_steps": 1, "checkpoint_steps": 1, "checkpoints_kept": 99}
    few: dict[str, Any] = {"lr": 5e-3, "samples": 16, "epochs": 20}
    config = TrainConfig(**{**FAST, **few, **every, "p": "learnt"})
    result = train(reviews, tmp_path / "run", str(still_bert), config)
    log = lines(tmp_path / "run")
    (began,) = (line for line in log if line.get("kind") == "p")
    losses = [
        statistics.fmean(line["loss"] for line in log if "loss" in line and line["epoch"] == epoch)
        for epoch in range(1, config.epochs + 1)
    ]
    assert 1 < began["epoch"] < config.epochs
    assert losses[began["epoch"] - 1] < KNOWN <= min(losses[: began["epoch"] - 1])
    assert result.largest_p == began["p"] == EVEN

    # It is the mean of a whole epoch, also of one that was interrupted.
    again = tmp_path / "again"
    shutil.copytree(tmp_path / "run", again)
    shutil.rmtree(again / MODEL)
    size = max(line["step"] for line in log) // config.epochs
    for folder in checkpoint.find(again):
        if int(folder.name.rpartition("-")[2]) >= began["epoch"] * size:
            shutil.rmtree(folder)
    assert train(reviews, again, str(still_bert), config, resume=True).eval == result.eval
    assert lines(again) == log


def test_smoothed_labels_are_known_when_nothing_but_their_smoothing_is_lost(
    reviews: Path, still_bert: Path, tmp_path: Path
) -> None:
    least = least_loss(0.2, 2)
    assert least == pytest.approx(-(0.9 * np.log(0.9) + 0.1 * np.log(0.1)))
    assert least_loss(0.0, 3) == 0
    assert least_loss(1.0, 3) == pytest.approx(np.log(3))
    assert (
        once_learnt(0.0, least + 0.9 * KNOWN, least) == EVEN
        and once_learnt(0.0, least + 1.1 * KNOWN, least) == 0
    )
    options: dict[str, Any] = {"lr": 5e-3, "samples": 16, "epochs": 20, "label_smoothing": 0.2, "p": "learnt"}
    result = train(reviews, tmp_path / "run", str(still_bert), TrainConfig(**{**FAST, **options}))
    assert result.largest_p == EVEN


def test_a_method_without_mixing_knows_no_p(
    reviews: Path, held_out: Path, tiny_bert: Path, tmp_path: Path
) -> None:
    results = [
        train(
            reviews, tmp_path / str(p), str(tiny_bert), TrainConfig(**FAST, method="none", p=p), dev=held_out
        )
        for p in ("auto", 0.3)
    ]
    assert results[0].dev == results[1].dev
    assert results[0].largest_p is None


def test_tokens_count_each_pass_that_there_was(reviews: Path, tiny_bert: Path, tmp_path: Path) -> None:
    def tokens(name: str, **options: Any) -> int:
        return train(reviews, tmp_path / name, str(tiny_bert), TrainConfig(**FAST, **options)).tokens

    once = RelevanceDataset(reviews).manifest.tokens
    assert tokens("plain", method="none", clean_weight=0.5) == once
    assert tokens("mixed", method="wordmixup", p=1.0) == once
    assert tokens("both", method="wordmixup", p=1.0, clean_weight=0.5) == 2 * once
    assert tokens("never", method="wordmixup", p=0.0, clean_weight=0.5) == once
    assert tokens("saliency", method="ssmix", p=1.0) == 2 * once


def test_a_set_is_called_what_a_file_can_be(reviews: Path, tiny_bert: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--eval: the evaluation set 'mr/test' cannot be called that"):
        train(reviews, tmp_path / "x", str(tiny_bert), TrainConfig(**FAST), evals=[("mr/test", reviews)])
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("over", [True, False])
def test_an_over_confident_model_is_mixed_more(over: bool) -> None:
    p = 0.5
    for _ in range(20):
        after = followed(p, 0.05 if over else -0.05)
        assert 0 <= abs(after - p) < 0.25  # one noisy epoch does not turn everything over
        p = after
    assert p == (1.0 if over else 0.0)
    assert followed(0.4, 0.0) == 0.4


def test_reporting_on_what_was_selected_on_is_warned_of(
    reviews: Path, held_out: Path, tiny_bert: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = TrainConfig(**{**MIXED, "samples": 8})
    train(reviews, tmp_path / "run", str(tiny_bert), config, dev=held_out, evals=[("test", held_out)])
    assert f"--eval {held_out}: --dev selects on the same shards" in caplog.text


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"batch_size": 100_000}, "batch_size 100,000 takes all 40 training texts at once"),
        ({"gradient_accumulation": 5}, "batch_size 8 x gradient_accumulation 5 takes all 40"),
        ({"batch_size": 20}, None),
    ],
)
def test_epochs_of_one_step_are_warned_of(
    options: dict[str, int], says: str | None, reviews: Path, caplog: pytest.LogCaptureFixture
) -> None:
    open_sets(reviews, TrainConfig(**{**FAST, "epochs": 3, **options}).settled(has_dev=False), None, ())
    if says is None:
        assert not caplog.text
    else:
        assert says in caplog.text
        assert "an epoch is one step, the run 3 in all" in caplog.text


def test_threads_are_those_asked_for_and_afterwards_those_of_before(
    reviews: Path, tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, seen = torch.get_num_threads(), []
    monkeypatch.setattr(run.Run, "train", lambda *_, **__: seen.append(torch.get_num_threads()))
    monkeypatch.setattr("amix.train.run.accelerator.available_cores", lambda: 1)
    for name, threads in (("one", 3), ("two", None)):
        train(reviews, tmp_path / name, str(tiny_bert), TrainConfig(**MIXED, threads=threads))
    assert seen == [3, 1]  # without the option no more than there are cores
    assert torch.get_num_threads() == before


def test_gradient_checkpointing_changes_memory_alone(
    reviews: Path, held_out: Path, tiny_bert: Path, tmp_path: Path
) -> None:
    results = []
    for again in (False, True):
        config = TrainConfig(**MIXED, gradient_checkpointing=again, clean_weight=0.5)
        run = tmp_path / str(again)
        results.append(train(reviews, run, str(tiny_bert), config, evals=[("test", held_out)]).eval["test"])
    assert results[0] == pytest.approx(results[1], abs=1e-5)
    config = TrainConfig(**MIXED, gradient_checkpointing=True, level="hidden:1")
    with pytest.raises(UsageError, match="gradient_checkpointing cannot be used with mixing at hidden:1"):
        train(reviews, tmp_path / "x", str(tiny_bert), config)
    assert not (tmp_path / "x").exists()


# torch's own: of its compiler's look at the embeddings.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
def test_a_compiled_model_trains_alike(
    reviews: Path, held_out: Path, still_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import AutoModelForSequenceClassification

    original, calls = torch.nn.Module.compile, []

    def traced(self: Any, **options: Any) -> None:
        calls.append(options)
        original(self, **options, backend="eager")  # generating code would take a minute and a half

    monkeypatch.setattr(torch.nn.Module, "compile", traced)
    results = []
    for compiled in (False, True):
        config = TrainConfig(**{**MIXED, "samples": 16}, compile=compiled, log_steps=1)
        run = tmp_path / str(compiled)
        results.append(train(reviews, run, str(still_bert), config, evals=[("test", held_out)]))
    assert calls == [{"dynamic": True}]
    assert results[1].eval["test"] == pytest.approx(results[0].eval["test"], abs=1e-5)
    assert results[1].model is not None
    model = AutoModelForSequenceClassification.from_pretrained(results[1].model)
    logits, labels = predict(model, RelevanceDataset(held_out, head=None))
    assert report(logits, labels) == pytest.approx(results[1].eval["test"], abs=1e-5)


def test_auto_opens_the_shards_and_draws_the_texts_once(
    reviews: Path, held_out: Path, tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Path] = []
    drawn: list[int | None] = []
    original = RelevanceDataset.__init__

    def opening(self: RelevanceDataset, folder: Path, *arguments: Any, **named: Any) -> None:
        opened.append(Path(folder))
        original(self, folder, *arguments, **named)

    def drawing(samples: int, wanted: int | None, seed: int, where: Path) -> NDArray[np.int64] | None:
        drawn.append(wanted)
        return draw_subset(samples, wanted, seed, where)

    monkeypatch.setattr(RelevanceDataset, "__init__", opening)
    monkeypatch.setattr("amix.train.run.data.sets.draw_subset", drawing)
    shards = tmp_path / "shards"
    shutil.copytree(reviews, shards)
    config = TrainConfig(**MIXED, head="auto", samples=24)
    result = train(shards, tmp_path / "run", str(tiny_bert), config, dev=held_out)
    assert opened == [shards, held_out]
    assert drawn == [24]
    named = train(
        shards, tmp_path / "named", str(tiny_bert), resolve(config.as_dict(), {"head": result.head}), held_out
    )
    assert named.dev == result.dev  # mixed by the relevance of the head that was chosen


def test_a_result_is_read_as_it_was_written(
    reviews: Path, held_out: Path, tiny_bert: Path, tmp_path: Path
) -> None:
    config = TrainConfig(**{**FAST, "epochs": 2, "p": "auto"})
    result = train(reviews, tmp_path / "run", str(tiny_bert), config, held_out, [("test", held_out)])
    for each in (result, replace(result, model=None, dev=None, temperature=None, scaled={})):
        kept = KeptResult(identity={"model": "sha256 0", "lr": 3e-3}, result=each)
        kept.write(tmp_path / "result.json")
        assert KeptResult.read(tmp_path / "result.json") == kept
    document = json.loads((tmp_path / "result.json").read_text())
    assert document.keys() == {"identity", "result", "sha256"}
    assert document["result"].keys() == {
        "model", "eval", "dev", "calibration", "temperature", "scaled", "head", "largest_p", "epoch", "steps",
        "tokens", "seconds", "changed_labels", "ensemble",
    }  # fmt: skip
    (tmp_path / "result.json").write_text(json.dumps({**document, "identity": {}}))
    with pytest.raises(TrainError, match=r"result\.json"):
        KeptResult.read(tmp_path / "result.json")


def test_the_log_is_read_as_it_was_written(
    reviews: Path, held_out: Path, tiny_bert: Path, tmp_path: Path
) -> None:
    shards = tmp_path / "shards"
    shutil.copytree(reviews, shards)
    config = TrainConfig(**{**FAST, "head": "auto", "partner": "same-class", "p": "auto", "log_steps": 5})
    result = train(shards, tmp_path / "run", str(tiny_bert), config, held_out, [("test", held_out)])
    log = read_log(tmp_path / "run" / "metrics.jsonl")
    written = (tmp_path / "run" / "metrics.jsonl").read_bytes()
    assert b"".join(canonical.dumps(line.as_dict()) + b"\n" for line in log) == written
    head, loss, dev, test = log
    assert head == HeadLine(head=str(result.head))
    assert isinstance(loss, LossLine) and (loss.step, loss.epoch) == (5, 1)
    assert isinstance(dev, ScoreLine) and (dev.kind, dev.name, dev.epoch) == ("dev", "dev", 1)
    assert {name: dev.metrics[name] for name in result.dev or ()} == result.dev
    assert test == ScoreLine(step=5, epoch=1, kind="eval", name="test", metrics=result.eval["test"])
    with (tmp_path / "run" / "metrics.jsonl").open("ab") as file:
        file.write(b'{"kind":"loss","st')  # a run that was killed
    assert read_log(tmp_path / "run" / "metrics.jsonl") == log
    with pytest.raises(ValueError, match="kind 'rumour'"):
        parse_line('{"kind":"rumour","step":1}')


def test_reading_ahead_changes_nothing(reviews: Path, tiny_bert: Path, tmp_path: Path) -> None:
    logs = []
    for workers in (0, 1):
        config = TrainConfig(**{**MIXED, "epochs": 2, "samples": 16}, read_workers=workers, log_steps=1)
        train(reviews, tmp_path / str(workers), str(tiny_bert), config)
        logs.append((tmp_path / str(workers) / "metrics.jsonl").read_bytes())
    assert logs[0] == logs[1]
