"""The Hugging Face Trainer with mixing: on shards and on plain data sets, resumed, accumulated, evaluated."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from amix.engine.base.errors import AmixError, MixingError, TrainError, UsageError
from amix.engine.mixing.attentionmix import AttentionMix
from amix.engine.mixing.losses import soft_cross_entropy
from amix.engine.mixing.mixer import NoMix
from amix.engine.mixing.pairmix import SentenceMixup, TMix, WordMixup
from amix.engine.mixing.partners import step_generator
from amix.engine.mixing.ssmix import SSMix
from amix.loaders.stream.dataset import RelevanceDataset
from amix.loaders.stream.loader import RelevanceLoader
from amix.train.hf import AmixTrainer, RelevanceCollator
from amix.train.model.forward import forward
from tests.checkpoints import behind, changed


@pytest.fixture(autouse=True)
def own_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    """TrainingArguments of transformers 4 hand their precision to all later ones of the process, by this variable."""
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")


def classifier(tiny_bert: Path, labels: int = 2, **options: Any) -> Any:
    from transformers import AutoModelForSequenceClassification

    torch.manual_seed(0)
    still = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    return AutoModelForSequenceClassification.from_pretrained(
        tiny_bert, num_labels=labels, **{**still, **options}
    )


def arguments(out: Path, **options: Any) -> Any:
    from transformers import TrainingArguments

    plain = {
        "per_device_train_batch_size": 8,
        "num_train_epochs": 1,
        "learning_rate": 1e-3,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": True,
        "logging_strategy": "no",
    }
    return TrainingArguments(output_dir=str(out), **{**plain, **options})


class Watched(AmixTrainer):
    """Remembers the loss of every training batch, and what stood in it."""

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self.losses: list[float] = []
        self.seen: list[dict[str, Tensor]] = []

    def compute_loss(self, model: nn.Module, inputs: dict[str, Any], *args: Any, **named: Any) -> Any:
        if model.training:
            self.seen.append({name: value.clone() for name, value in inputs.items()})
        loss: Any = super().compute_loss(model, inputs, *args, **named)  # the Trainer asks for no outputs
        if model.training:
            self.losses.append(loss.item())
        return loss


def weights(trainer: AmixTrainer) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in trainer.model.state_dict().items()}


def tokenizer_of(tiny_bert: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny_bert)


def tokenized(rows: list[dict[str, Any]], tiny_bert: Path, **columns: Any) -> Any:
    """A `datasets.Dataset` as every tutorial makes it, with a text column left in."""
    from datasets import Dataset

    texts = [row["text"] for row in rows]
    return Dataset.from_dict(
        {
            "text": texts,
            "label": [row["label"] for row in rows],
            **tokenizer_of(tiny_bert)(texts),
            **columns,
        }
    )


def gold(rows: list[dict[str, Any]]) -> list[list[float]]:
    """Three yes-no questions of a review."""
    return [[float(row["label"]), float(len(row["text"]) > 40), 1.0] for row in rows]


# --- the collator


def test_the_collator_makes_the_loaders_batches(reviews: Path) -> None:
    dataset = RelevanceDataset(reviews, head="0.0|1.mean")
    wanted: Mapping[str, Any] = next(iter(RelevanceLoader(dataset, batch_size=8, shuffle="none")))
    found: Mapping[str, Any] = RelevanceCollator(dataset)([dataset[number] for number in range(8)])
    assert set(wanted) - set(found) == {"keys"}
    for name, value in found.items():
        assert value.dtype == wanted[name].dtype
        torch.testing.assert_close(value, wanted[name], rtol=0, atol=0)


def test_lists_tensors_and_padded_rows_come_out_alike(tiny_bert: Path) -> None:
    tokenizer = tokenizer_of(tiny_bert)
    collate = RelevanceCollator(tokenizer)
    plain = [
        {"input_ids": [2, 7, 8, 3], "relevance": [1.0, 2.0, 3.0, 4.0], "label": 1},
        {"input_ids": [2, 9, 3], "relevance": [1.0, 2.0, 3.0], "label": 0},
    ]
    right = {
        "input_ids": torch.tensor([2, 9, 3, 0]),
        "attention_mask": torch.tensor([1, 1, 1, 0]),
        "relevance": torch.tensor([1.0, 2.0, 3.0, 9.0]),
        "label": torch.tensor(0),
    }
    left = {
        "input_ids": np.array([0, 2, 9, 3]),
        "attention_mask": [0, 1, 1, 1],
        "relevance": [9.0, 1.0, 2.0, 3.0],
        "label_ids": np.int32(0),
    }
    wanted: Mapping[str, Any] = collate(plain)
    assert wanted["input_ids"].tolist() == [[2, 7, 8, 3], [2, 9, 3, 0]]
    assert wanted["attention_mask"].tolist() == [[1, 1, 1, 1], [1, 1, 1, 0]]
    assert wanted["relevance"].tolist() == [[1, 2, 3, 4], [1, 2, 3, 0]]
    special = {tokenizer.cls_token_id, tokenizer.sep_token_id, tokenizer.pad_token_id}
    assert special == {0, 2, 3}
    assert wanted["content"].tolist() == [[False, True, True, False], [False, True, False, False]]
    assert wanted["labels"].tolist() == [1, 0]
    for odd in (right, left):
        found: Mapping[str, Any] = collate([plain[0], odd])
        assert found.keys() == wanted.keys()
        for name, value in wanted.items():
            assert torch.equal(found[name], value), name
            assert found[name].dtype == value.dtype


def test_rows_of_class_weights_become_float_targets() -> None:
    collate = RelevanceCollator(0)
    for rows in ([[1, 0, 1], [0, 0, 1]], [[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]]):
        found = collate([{"input_ids": [2, 3], "labels": row} for row in rows])
        assert found["labels"].dtype == torch.float32
        assert found["labels"].tolist() == [[1, 0, 1], [0, 0, 1]]
    assert "content" not in found  # an id alone does not say what is special
    assert set(collate([{"input_ids": [2, 3]}])) == {"input_ids", "attention_mask"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"relevance": [1.0, 2.0]}, "sample 17: relevance is for 2 tokens, input_ids has 3"),
        ({"relevance": [1.0, float("nan"), 2.0]}, "sample 17: relevance holds nan at token 1"),
        ({"relevance": [[1.0, 1.0, 1.0], [1.0, 2.0, -0.5]]}, "sample 17: relevance holds -0.5 at token 2"),
        ({"relevance": [1.0, 2.0, float("inf")]}, "sample 17: relevance holds inf"),
        ({"relevance": [[[1.0, 1.0, 1.0]]]}, "sample 17: relevance has 3 axes"),
        ({"relevance": [[1.0, 1.0, 1.0]] * 2}, "sample 17: its relevance has shape"),
        ({"relevance": None}, "sample 17: has no relevance, which other samples"),
        ({"content": [True]}, "sample 17: content is for 1 tokens"),
        ({"attention_mask": [1, 1]}, "sample 17: attention_mask is for 2 tokens"),
        ({"attention_mask": [0, 0, 0]}, "sample 17: has no token"),
        ({"label": "good"}, "sample 17: its label is 'good'"),
        ({"label": 0.5}, "sample 17: its label is 0.5"),
        ({"label": [0.5, 0.5]}, "sample 17: its labels has shape"),
        ({"label": None}, "sample 17: has no labels"),
        ({"input_ids": ["a", "b", "c"]}, "sample 17: input_ids is not an array of numbers"),
        ({"input_ids": [[2, 9, 3]]}, "sample 17: input_ids has 2 axes"),
    ],
)
def test_a_bad_sample_is_named(change: dict[str, Any], message: str) -> None:
    good = {"key": "4", "input_ids": [2, 3], "relevance": [1.0, 1.0], "label": 1}
    odd = {"key": "17", "input_ids": [2, 9, 3], "relevance": [1.0, 1.0, 1.0], "label": 0}
    RelevanceCollator(0)([good, odd])
    with pytest.raises(MixingError, match=message.replace("(", r"\(")):
        RelevanceCollator(0)([good, {**odd, **change}])


def test_a_sample_without_key_is_named_by_its_place() -> None:
    with pytest.raises(MixingError, match="sample 1 of the batch: has no input_ids, only text"):
        RelevanceCollator(0)([{"input_ids": [2, 3]}, {"text": "plain"}])


def test_padding_has_to_come_from_somewhere() -> None:
    with pytest.raises(UsageError, match="padding id is None"):
        RelevanceCollator(None)


# --- training


@pytest.mark.parametrize(
    "mixer",
    [
        NoMix(),
        WordMixup(),
        SentenceMixup(),
        TMix(layers=(0, 1)),
        SSMix(),
        AttentionMix(),
        AttentionMix(level="hidden:1", partner="other-class"),
    ],
    ids=lambda mixer: type(mixer).__name__ + getattr(mixer, "level", ""),
)
def test_every_mixer_trains_on_shards(mixer: Any, reviews: Path, tiny_bert: Path, tmp_path: Path) -> None:
    trainer = Watched(
        classifier(tiny_bert), arguments(tmp_path), train_dataset=RelevanceDataset(reviews), mixer=mixer
    )
    before = weights(trainer)
    trainer.train()
    assert len(trainer.losses) == 5
    assert np.isfinite(trainer.losses).all()
    assert all("relevance" in batch and "content" in batch and "key" not in batch for batch in trainer.seen)
    assert not torch.equal(before["classifier.weight"], weights(trainer)["classifier.weight"])


def test_the_loss_is_that_of_the_plan(reviews: Path, tiny_bert: Path, tmp_path: Path) -> None:
    dataset = RelevanceDataset(reviews)
    model = classifier(tiny_bert)
    trainer = AmixTrainer(model, arguments(tmp_path, seed=5), train_dataset=dataset, clean_weight=0.25)
    batch = trainer.data_collator([dataset[number] for number in range(8)])
    plan = AttentionMix().plan(
        batch["attention_mask"],
        relevance=batch["relevance"],
        content=batch["content"],
        generator=step_generator(5, 0, 0),
    )
    model.train()
    mixed = soft_cross_entropy(forward(model, batch, plan), plan.mix_labels(batch["labels"], 2))
    clean = torch.nn.functional.cross_entropy(forward(model, batch), batch["labels"])
    torch.testing.assert_close(trainer.compute_loss(model, batch), 0.75 * mixed + 0.25 * clean)


def test_without_mixing_it_trains_like_the_plain_trainer(
    review_rows: list[dict[str, Any]], tiny_bert: Path, tmp_path: Path
) -> None:
    from transformers import DataCollatorWithPadding, Trainer

    rows = tokenized(review_rows[:20], tiny_bert)
    plain: Any = Trainer(  # whose attributes are declared as optional
        classifier(tiny_bert),
        arguments(tmp_path),
        DataCollatorWithPadding(tokenizer_of(tiny_bert)),
        rows,
        eval_dataset=rows,
    )
    ours = AmixTrainer(
        classifier(tiny_bert), arguments(tmp_path), train_dataset=rows, eval_dataset=rows, mixer=NoMix()
    )
    for trainer in (plain, ours):
        trainer.train()
    for name, value in plain.model.state_dict().items():
        torch.testing.assert_close(weights(ours)[name], value, rtol=1e-4, atol=1e-6)
    theirs, found = plain.predict(rows), ours.predict(rows)
    assert found.metrics is not None
    np.testing.assert_allclose(found.predictions, theirs.predictions, rtol=1e-3, atol=1e-5)
    assert found.metrics["test_loss"] == pytest.approx(theirs.metrics["test_loss"], rel=1e-4)


@pytest.mark.parametrize("multi_label", [False, True])
def test_accumulated_batches_weigh_like_one_large_batch(
    multi_label: bool, review_rows: list[dict[str, Any]], tiny_bert: Path, tmp_path: Path
) -> None:
    rows = review_rows[:19]  # 8 + 8 + 3: a mean of means would count the last three more
    labels = {"label": gold(rows)} if multi_label else {}
    data = tokenized(rows, tiny_bert, **labels)
    found = []
    for size, steps in ((19, 1), (8, 3)):
        trainer = Watched(
            classifier(tiny_bert, 3),
            arguments(
                tmp_path,
                per_device_train_batch_size=size,
                gradient_accumulation_steps=steps,
                optim="sgd",
                learning_rate=1.0,
                lr_scheduler_type="constant",
                max_grad_norm=0.0,
            ),
            train_dataset=data,
            mixer=NoMix(),
            multi_label=multi_label,
        )
        trainer.train()
        assert trainer.state.global_step == 1 and len(trainer.losses) == steps
        found.append((sum(trainer.losses), weights(trainer)))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5)
    for name, value in found[0][1].items():
        torch.testing.assert_close(found[1][1][name], value, rtol=1e-4, atol=1e-5)


def test_a_mean_is_returned_where_no_count_is_given(reviews: Path, tiny_bert: Path, tmp_path: Path) -> None:
    dataset, model = RelevanceDataset(reviews), classifier(tiny_bert)
    trainer = AmixTrainer(model, arguments(tmp_path), train_dataset=dataset, mixer=NoMix())
    batch = trainer.data_collator([dataset[number] for number in range(6)])
    model.train()
    mean, outputs = trainer.compute_loss(model, batch, return_outputs=True)
    assert outputs == {}
    part = trainer.compute_loss(model, batch, num_items_in_batch=torch.tensor(24))
    torch.testing.assert_close(part, mean / 4)


@pytest.mark.parametrize(
    ("precision", "dropout"), [({}, 0.0), ({"bf16": True}, 0.1)], ids=["float32", "bf16 with dropout"]
)
def test_a_resumed_run_is_an_undisturbed_one(
    precision: dict[str, Any], dropout: float, reviews: Path, tiny_bert: Path, tmp_path: Path
) -> None:
    def trainer(out: Path, **options: Any) -> Watched:
        options = {"num_train_epochs": 2, "gradient_accumulation_steps": 2, "seed": 3, **precision, **options}
        return Watched(
            classifier(tiny_bert, hidden_dropout_prob=dropout),
            arguments(out, per_device_train_batch_size=6, **options),
            train_dataset=RelevanceDataset(reviews, head="0.0|0.1|1.mean"),
            mixer=AttentionMix(p=0.7),
            clean_weight=0.3,
        )

    whole = trainer(tmp_path / "whole", save_strategy="steps", save_steps=3)
    whole.train()
    assert whole.state.global_step == 8 and len(whole.losses) == 14
    for step, batches in ((3, 6), (6, 11)):  # in the middle of each epoch
        resumed = trainer(tmp_path / "resumed")
        resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / f"checkpoint-{step}"))
        assert resumed.losses == whole.losses[batches:]
        for name, value in weights(whole).items():
            assert torch.equal(weights(resumed)[name], value), name


def test_equal_runs_are_equal_and_seeds_differ(reviews: Path, tiny_bert: Path, tmp_path: Path) -> None:
    def losses(seed: int) -> list[float]:
        options = arguments(tmp_path, seed=seed, data_seed=0, max_steps=3)
        trainer = Watched(
            classifier(tiny_bert), options, train_dataset=RelevanceDataset(reviews), mixer=WordMixup()
        )
        trainer.train()
        first, trainer.losses = trainer.losses, []
        assert len(set(first)) == 3
        trainer.model.load_state_dict(classifier(tiny_bert).state_dict())
        trainer.train()  # begins anew in the same object; its optimizer's state is kept by the Trainer
        assert trainer.losses[0] == first[0]
        return first

    assert losses(1) == losses(1)
    assert losses(1) != losses(2)


def test_every_batch_of_a_step_and_every_rank_draws_its_own(
    reviews: Path, tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[tuple[int, ...]] = []

    def recorded(seed: int, epoch: int, step: int, group: int = 0) -> torch.Generator:
        drawn.append((seed, epoch, step, group))
        return step_generator(seed, epoch, step, group)

    monkeypatch.setattr("amix.train.hf.trainer.step_generator", recorded)
    options = arguments(tmp_path, gradient_accumulation_steps=2, num_train_epochs=2)
    AmixTrainer(classifier(tiny_bert), options, train_dataset=RelevanceDataset(reviews)).train()
    # Five batches an epoch in steps of 2, 2 and 1.
    assert [step for _, _, step, _ in drawn] == [0, 1, 2, 3, 4, 6, 7, 8, 9, 10]
    assert {group for *_, group in drawn} == {options.process_index} == {0}


@pytest.mark.parametrize("optimizer_steps", [4])
def test_bf16_mixes_and_learns(optimizer_steps: int, reviews: Path, tiny_bert: Path, tmp_path: Path) -> None:
    trainer = Watched(
        classifier(tiny_bert),
        arguments(tmp_path, bf16=True, max_steps=optimizer_steps),
        train_dataset=RelevanceDataset(reviews),
        eval_dataset=RelevanceDataset(reviews, head=None),
        relevance_source="online",
        head="1.mean",
    )
    trainer.train()
    assert len(trainer.losses) == optimizer_steps and np.isfinite(trainer.losses).all()
    assert trainer.model.classifier.weight.dtype == torch.float32
    assert np.isfinite(trainer.evaluate()["eval_loss"])


# --- plain data sets


def test_wordmixup_needs_no_cache(review_rows: list[dict[str, Any]], tiny_bert: Path, tmp_path: Path) -> None:
    from transformers import DataCollatorWithPadding

    data, tokenizer = tokenized(review_rows[:16], tiny_bert), tokenizer_of(tiny_bert)
    for collator in (None, DataCollatorWithPadding(tokenizer)):
        trainer = Watched(
            classifier(tiny_bert),
            arguments(tmp_path),
            collator,
            data,
            processing_class=tokenizer,
            mixer=WordMixup(),
        )
        trainer.train()
        assert len(trainer.losses) == 2
        assert all("relevance" not in batch for batch in trainer.seen)


def test_columns_for_mixing_are_kept_and_others_go(
    review_rows: list[dict[str, Any]], tiny_bert: Path, tmp_path: Path
) -> None:
    data = tokenized(review_rows[:16], tiny_bert)
    ids = data["input_ids"]
    data = data.add_column("relevance", [[1.0] * len(row) for row in ids])
    data = data.add_column("content", [[token > 4 for token in row] for row in ids])
    trainer = Watched(classifier(tiny_bert), arguments(tmp_path), train_dataset=data, eval_dataset=data)
    assert trainer.args.remove_unused_columns
    trainer.train()
    assert {"relevance", "content", "input_ids", "attention_mask", "labels"} <= set(trainer.seen[0])
    assert "text" not in trainer.seen[0]
    assert np.isfinite(trainer.evaluate()["eval_loss"])  # the model's forward knows neither column
    assert np.shape(trainer.predict(data.remove_columns("label")).predictions) == (16, 2)


def test_relevance_that_is_missing_is_asked_for(
    review_rows: list[dict[str, Any]], reviews: Path, tiny_bert: Path, tmp_path: Path
) -> None:
    for data in (tokenized(review_rows[:8], tiny_bert), RelevanceDataset(reviews, head=None)):
        trainer = AmixTrainer(classifier(tiny_bert), arguments(tmp_path), train_dataset=data)
        with pytest.raises(MixingError, match=r"RelevanceDataset.*relevance_source='online'"):
            trainer.train()


def test_relevance_online_is_that_of_the_model(
    review_rows: list[dict[str, Any]], reviews: Path, tiny_bert: Path, tmp_path: Path
) -> None:
    """Before the first update the model in training is the encoder that the cache was made with."""
    cached = Watched(
        classifier(tiny_bert), arguments(tmp_path), train_dataset=RelevanceDataset(reviews, "1.0")
    )
    online = Watched(
        classifier(tiny_bert),
        arguments(tmp_path),
        train_dataset=RelevanceDataset(reviews, head=None),
        relevance_source="online",
        head="1.0",
    )
    cached.train()
    online.train()
    assert online.losses[0] == pytest.approx(cached.losses[0], rel=1e-3)  # the cache is float16
    assert online.losses[-1] != pytest.approx(cached.losses[-1], rel=1e-6)


# --- targets and evaluation


def test_evaluation_mixes_nothing(reviews: Path, held_out: Path, tiny_bert: Path, tmp_path: Path) -> None:
    def metrics(found: Any) -> dict[str, float]:
        return {"accuracy": float((found.predictions.argmax(1) == found.label_ids).mean())}

    model = classifier(tiny_bert)
    shards = RelevanceDataset(held_out)
    trainer = AmixTrainer(
        model,
        arguments(tmp_path, eval_strategy="epoch", num_train_epochs=2, label_smoothing_factor=0.2),
        train_dataset=RelevanceDataset(reviews),
        eval_dataset={"cached": shards, "bare": RelevanceDataset(held_out, head=None)},
        compute_metrics=metrics,
    )
    trainer.train()
    model.eval()
    with torch.no_grad():
        batch = trainer.data_collator([shards[number] for number in range(len(shards))])
        logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    loss = float(torch.nn.functional.cross_entropy(logits, batch["labels"]))
    accuracy = float((logits.argmax(1) == batch["labels"]).float().mean())
    found = trainer.evaluate()
    for name in ("cached", "bare"):
        assert found[f"eval_{name}_loss"] == pytest.approx(loss, rel=1e-4)
        assert found[f"eval_{name}_accuracy"] == pytest.approx(accuracy)
    np.testing.assert_allclose(trainer.predict(shards).predictions, logits.numpy(), rtol=1e-3, atol=1e-5)
    assert model.config.problem_type is None  # no loss was guessed


def test_multi_label_targets_are_mixed_and_evaluated_by_binary_cross_entropy(
    review_rows: list[dict[str, Any]], tiny_bert: Path, tmp_path: Path
) -> None:
    rows = review_rows[:12]
    data = tokenized(rows, tiny_bert, label=gold(rows))
    model = classifier(tiny_bert, 3)
    trainer = Watched(
        model,
        arguments(tmp_path, per_device_eval_batch_size=12),
        train_dataset=data,
        eval_dataset=data,
        mixer=WordMixup(),
        multi_label=True,
    )
    trainer.train()
    found: Any = trainer.predict(data)  # whose parts are declared as arrays, tuples of arrays, or None
    wanted = torch.nn.functional.binary_cross_entropy_with_logits(
        torch.tensor(found.predictions), torch.tensor(gold(rows))
    )
    assert found.metrics["test_loss"] == pytest.approx(float(wanted), rel=1e-5)
    assert found.label_ids.tolist() == gold(rows)


def test_label_smoothing_smooths_the_targets(reviews: Path, tiny_bert: Path, tmp_path: Path) -> None:
    dataset, model = RelevanceDataset(reviews), classifier(tiny_bert, 3)
    trainer = AmixTrainer(
        model, arguments(tmp_path, label_smoothing_factor=0.3), train_dataset=dataset, mixer=NoMix()
    )
    batch = trainer.data_collator([dataset[number] for number in range(8)])
    model.train()
    logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    wanted = torch.nn.functional.cross_entropy(logits, batch["labels"], label_smoothing=0.3)
    torch.testing.assert_close(trainer.compute_loss(model, batch), wanted)


# --- what is refused


@pytest.mark.parametrize(
    ("options", "trainer", "message"),
    [
        ({}, {"mixer": "attentionmix"}, "mixer is 'attentionmix'"),
        ({}, {"clean_weight": 1.5}, "clean_weight is 1.5"),
        ({}, {"relevance_source": "disk"}, "relevance_source is 'disk'"),
        ({}, {"compute_loss_func": lambda *_: None}, "compute_loss_func"),
        ({"label_smoothing_factor": 0.1}, {"multi_label": True}, "label_smoothing_factor is 0.1"),
        ({"label_names": ["stars"]}, {}, "label_names is"),
    ],
)
def test_options_that_cannot_be_right(
    options: dict[str, Any], trainer: dict[str, Any], message: str, tiny_bert: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=message):
        AmixTrainer(classifier(tiny_bert), arguments(tmp_path, **options), **trainer)


@pytest.mark.parametrize(
    ("model", "trainer", "message"),
    [
        ({"labels": 1}, {}, "regression"),
        ({"problem_type": "regression"}, {}, "problem_type is regression"),
        ({"problem_type": "single_label_classification"}, {"multi_label": True}, "Make them agree"),
        ({"problem_type": "multi_label_classification"}, {}, "Make them agree"),
    ],
)
def test_models_that_do_not_fit(
    model: dict[str, Any], trainer: dict[str, Any], message: str, tiny_bert: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=message):
        AmixTrainer(classifier(tiny_bert, **model), arguments(tmp_path), **trainer)


# What torch.compile loads still uses torch.jit.
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is:DeprecationWarning")
def test_a_model_wrapped_by_torch_compile_is_refused_with_what_works(tiny_bert: Path, tmp_path: Path) -> None:
    compiled: Any = torch.compile(classifier(tiny_bert))
    with pytest.raises(UsageError, match=r"wrapped by torch\.compile\(model\).*torch_compile=True\)"):
        AmixTrainer(compiled, arguments(tmp_path))


def test_a_model_that_returns_tuples_is_refused(tiny_bert: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"Set model\.config\.return_dict = True"):
        AmixTrainer(classifier(tiny_bert, return_dict=False), arguments(tmp_path))


def test_weights_that_the_checkpoint_did_not_have_are_told(
    tiny_bert: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def said() -> str:
        return " ".join(record.getMessage() for record in caplog.records if record.name.startswith("amix."))

    AmixTrainer(classifier(tiny_bert), arguments(tmp_path))
    assert not said()
    wrapped = changed(tiny_bert, tmp_path / "wrapped", behind("_orig_mod."))
    AmixTrainer(classifier(wrapped), arguments(tmp_path))
    assert f"{wrapped}: the checkpoint lacks 37 of the encoder's weights" in said()
    assert "the model that AmixTrainer was given, unless you have set these weights yourself" in said()


@pytest.mark.parametrize(
    ("mixer", "error", "message"),
    [
        (TMix(layers=(1, 7)), TrainError, "7"),
        (WordMixup(), MixingError, "the batch has no labels"),
    ],
)
def test_what_the_first_batch_brings_to_light(
    mixer: Any,
    error: type[AmixError],
    message: str,
    review_rows: list[dict[str, Any]],
    tiny_bert: Path,
    tmp_path: Path,
) -> None:
    data = tokenized(review_rows[:8], tiny_bert)
    if error is MixingError:
        data = data.remove_columns("label")
    trainer = AmixTrainer(classifier(tiny_bert), arguments(tmp_path), train_dataset=data, mixer=mixer)
    with pytest.raises(error, match=message):
        trainer.train()
