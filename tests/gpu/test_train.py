"""Training on a card: what the CPU comes to, in every precision, at every site, and after a kill."""

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from amix.engine.base.errors import DeviceError
from amix.engine.mixing.attentionmix import AttentionMix
from amix.engine.mixing.losses import soft_cross_entropy
from amix.loaders.stream.dataset import RelevanceDataset
from amix.loaders.stream.loader import Reading, RelevanceLoader
from amix.train.model.batch import to_device
from amix.train.options.config import Precision, TrainConfig
from amix.train.options.file import Inputs, write_config
from amix.train.run.checkpoint import find
from amix.train.run.result import TrainResult
from amix.train.run.train import train
from amix.train.score.evaluate import Predictions

pytestmark = [pytest.mark.gpu, pytest.mark.filterwarnings("default")]

FAST: dict[str, Any] = {"lr": 1e-3, "batch_size": 8, "epochs": 2, "p": 0.8, "log_steps": 2}

RUNS: dict[str, dict[str, Any]] = {
    "none": {"method": "none"},
    "attentionmix": {"clean_weight": 0.3},
    "attentionmix, several heads": {"head": "0.1|1.mean"},
    "attentionmix, after the embeddings": {"level": "hidden:0"},
    "attentionmix, between layers": {"level": "hidden:1"},
    "attentionmix, after the last": {"level": "hidden:2"},
    "attentionmix, online": {"relevance_source": "online", "head": "1.0"},
    "wordmixup": {"method": "wordmixup", "partner": "same-class"},
    "sentencemixup": {"method": "sentencemixup"},
    "tmix": {"method": "tmix", "layers": "0,1,2"},
    "ssmix": {"method": "ssmix"},
}


def trained(
    shards: Path, out: Path, model: Path, evals: Path, config: TrainConfig, **more: Any
) -> TrainResult:
    return train(shards, out, str(model), config, evals=[("eval", evals)], **more)


@pytest.mark.parametrize("run", RUNS)
def test_every_site_comes_to_what_the_cpu_comes_to(
    run: str, device: str, reviews: Path, held_out: Path, still_bert: Path, tmp_path: Path
) -> None:
    # Plans are drawn on the CPU for both, and there is no dropout: only rounding differs.
    expected, found = (
        trained(
            reviews,
            tmp_path / name / "run",
            still_bert,
            held_out,
            TrainConfig(**FAST | RUNS[run], device=each),
        )
        for name, each in (("expected", "cpu"), ("found", device))
    )
    assert found.steps == expected.steps == 10
    assert found.tokens == expected.tokens
    # Saliencies that are tied or nearly so may choose another span.
    tolerance = 0.1 if run == "ssmix" else 0.02
    assert found.eval["eval"]["nll"] == pytest.approx(expected.eval["eval"]["nll"], abs=tolerance)


@pytest.mark.parametrize("precision", ["no", "bf16", "fp16"])
def test_a_resumed_run_comes_to_what_an_undisturbed_one_comes_to(
    precision: Precision, device: str, reviews: Path, held_out: Path, tiny_bert: Path, tmp_path: Path
) -> None:
    if precision == "fp16" and device == "cpu":
        pytest.skip("fp16 needs a GPU, also to rehearse")
    config = TrainConfig(
        **FAST, clean_weight=0.2, checkpoint_steps=4, mixed_precision=precision, device=device
    )
    whole = trained(reviews, tmp_path / "whole", tiny_bert, held_out, config)
    assert [path.name[-1] for path in find(tmp_path / "whole")] == ["4", "8"]
    # As a kill after the first checkpoint would leave it.
    shutil.copytree(tmp_path / "whole", tmp_path / "stopped")
    shutil.rmtree(find(tmp_path / "stopped")[-1])
    shutil.rmtree(tmp_path / "stopped" / "model")
    again = trained(reviews, tmp_path / "stopped", tiny_bert, held_out, config, resume=True)
    assert (again.steps, again.epoch, again.tokens) == (whole.steps, whole.epoch, whole.tokens)
    # Not bit for bit: kernels that add up in any order are part of a backward pass on a GPU.
    tolerance = 0.02 if precision == "no" else 0.05
    assert again.eval["eval"]["nll"] == pytest.approx(whole.eval["eval"]["nll"], abs=tolerance)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_comes_close_to_single(
    precision: Precision, device: str, reviews: Path, held_out: Path, still_bert: Path, tmp_path: Path
) -> None:
    if precision == "fp16" and device == "cpu":
        pytest.skip("fp16 needs a GPU, also to rehearse")
    runs = {}
    for each in (precision, "no"):  # in one process, one after the other
        config = TrainConfig(**FAST, mixed_precision=each, device=device)
        runs[each] = trained(reviews, tmp_path / each, still_bert, held_out, config).eval["eval"]["nll"]
    assert runs[precision] != runs["no"]
    assert runs[precision] == pytest.approx(runs["no"], abs=0.1)


@pytest.mark.parametrize("options", [{}, {"level": "hidden:1"}], ids=["embedding", "hidden"])
def test_a_compiled_model_trains_alike(
    options: dict[str, Any], card: str, reviews: Path, held_out: Path, still_bert: Path, tmp_path: Path
) -> None:
    pytest.importorskip("triton", reason="torch.compile needs Triton on a GPU")
    results = {}
    for compiled in (False, True):
        config = TrainConfig(**FAST | options, samples=16, compile=compiled, device=card)
        results[compiled] = trained(reviews, tmp_path / str(compiled), still_bert, held_out, config)
    assert results[True].steps == results[False].steps
    nll = results[False].eval["eval"]["nll"]
    assert results[True].eval["eval"]["nll"] == pytest.approx(nll, abs=0.02)


def test_all_the_rest_at_once(
    device: str, reviews: Path, held_out: Path, tiny_bert: Path, tmp_path: Path
) -> None:
    """A development set, p that follows it, the head ranked first, accumulation, checkpointing, readers."""
    config = TrainConfig(
        **{**FAST, "p": "auto", "head": "auto"},
        gradient_accumulation=2,
        gradient_checkpointing=True,
        read_workers=1,
        bucket_batches=2,
        mixed_precision="bf16",
        device=device,
    )
    result = trained(reviews, tmp_path / "run", tiny_bert, held_out, config, dev=held_out)
    assert result.steps == 6
    assert result.dev is not None and result.temperature is not None
    assert result.model is not None

    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(result.model)
    assert next(model.parameters()).dtype == torch.float32


def test_batches_for_a_card_are_page_locked(card: str, reviews: Path) -> None:
    loader = RelevanceLoader(
        RelevanceDataset(reviews, head="0.mean"), batch_size=8, reading=Reading(pin_memory=True)
    )
    batch = next(iter(loader))
    assert batch["input_ids"].is_pinned()
    assert batch["relevance"].is_pinned()


def test_what_a_step_does_beside_the_model_does_not_wait_for_the_card(card: str, reviews: Path) -> None:
    """A mode of PyTorch raises where a number is asked for. The model is left out: transformers looks at masks."""
    batch = next(iter(RelevanceLoader(RelevanceDataset(reviews, head="0.mean"), batch_size=8)))
    words_BTD = torch.randn(*batch["input_ids"].shape, 4, device=card)
    logits_BC = torch.randn(len(batch["labels"]), 2, device=card)
    mixer = AttentionMix()
    to_device(batch, torch.device(card))  # the first page-locked memory
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        on_card = to_device(batch, torch.device(card))
        plan = mixer.plan(batch["attention_mask"], relevance=batch["relevance"], content=batch["content"]).to(
            card
        )
        mixed_BTD = plan.mix(words_BTD)
        targets_BC = plan.mix_labels(on_card["labels"], 2, check=False)
        loss = soft_cross_entropy(logits_BC, targets_BC)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert mixed_BTD.isfinite().all() and loss.isfinite()


def test_another_card_than_there_is_is_refused(
    card: str, reviews: Path, tiny_bert: Path, tmp_path: Path
) -> None:
    with pytest.raises(DeviceError, match=r"device is 'cuda:99', but there (are|is)"):
        train(reviews, tmp_path / "run", str(tiny_bert), TrainConfig(**FAST, device="cuda:99"))
    assert not (tmp_path / "run").exists()


def test_two_cards_train_as_one_does(
    card: str, reviews: Path, held_out: Path, still_bert: Path, tmp_path: Path
) -> None:
    if torch.cuda.device_count() < 2:
        pytest.skip("needs two CUDA devices")
    config = replace(TrainConfig(**FAST, device=card), group_size=4)
    alone = trained(reviews, tmp_path / "alone", still_bert, held_out, config)
    write_config(tmp_path / "config.yaml", config, Inputs())
    subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1",
         "--nproc-per-node", "2", "-m", "amix", "train", reviews, tmp_path / "two", "--model", still_bert,
         "--eval", held_out, "--config", tmp_path / "config.yaml"],
        check=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, timeout=300,
    )  # fmt: skip
    together = Predictions.load(tmp_path / "two" / "predictions" / "eval-eval.safetensors").report()
    assert together["nll"] == pytest.approx(alone.eval["eval"]["nll"], abs=0.02)
