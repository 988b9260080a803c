"""Several processes train as one does: the same rows, the same pairs, the same metrics."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from amix.engine.mixing.attentionmix import AttentionMix
from amix.engine.mixing.mixer import Mixer
from amix.engine.mixing.pairmix import SentenceMixup, TMix, WordMixup
from amix.engine.mixing.partners import Draws
from amix.loaders.stream.dataset import RelevanceDataset
from amix.loaders.stream.loader import RelevanceLoader
from amix.train.objective import Objective
from amix.train.options.config import TrainConfig
from amix.train.options.file import Inputs, write_config
from amix.train.run.train import train

MIXERS: dict[str, Mixer] = {
    "attentionmix": AttentionMix(p=0.7),
    "attentionmix, several heads": AttentionMix(),
    "wordmixup, other class": WordMixup(partner="other-class"),
    "sentencemixup": SentenceMixup(),
    "tmix": TMix(layers=(0, 1, 2)),
}
CONFIG: dict[str, Any] = {
    "lr": 3e-3,
    "batch_size": 8,
    "group_size": 2,
    "p": 0.5,
    "epochs": 2,
    "log_steps": 1,
    "device": "cpu",
}


TRAIN = ("-m", "amix", "train")
# Several commands in the same processes, which need not keep in step.
SEVERAL = """
import os, sys, time
from amix.cli import main

for arguments in {commands!r}:
    time.sleep(0.3 * int(os.environ.get("RANK", "0")))
    main.main(arguments, prog_name="amix", standalone_mode=False)
"""


def launched(launcher: str, *program: object, code: int = 0) -> str:
    """Run a program in two processes and return what it says: the result, or the error."""
    module = {
        "torchrun": [
            "torch.distributed.run",
            "--standalone",
            "--local-addr",
            "127.0.0.1",
            "--nproc-per-node",
            "2",
        ],
        "accelerate": [
            "accelerate.commands.launch",
            "--cpu",
            "--num_processes",
            "2",
            "--main_process_port",
            "0",
        ],
    }[launcher]
    command = [sys.executable, "-m", *module, *program]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, env=environment, timeout=300
    )
    assert done.returncode == code, done.stderr
    return done.stderr if code else done.stdout


def losses(run: Path) -> list[float]:
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [line["loss"] for line in lines if "loss" in line]


def close(found: object, expected: object) -> None:
    assert found == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("name", MIXERS)
@pytest.mark.parametrize("ranks", [2, 4])
def test_ranks_see_the_rows_and_pairs_of_one_process(
    name: str, ranks: int, reviews: Path, tiny_bert: Path
) -> None:
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(tiny_bert)
    dataset = RelevanceDataset(reviews, head="0.1|1.mean" if "several" in name else "0.1")
    objective = Objective(mixer=MIXERS[name], num_classes=2)

    def plans(rank: int, ranks: int) -> list[tuple[Any, ...]]:
        loader = RelevanceLoader(dataset, batch_size=16, group_size=4, seed=3, rank=rank, world_size=ranks)
        first = rank * (4 // ranks)
        seen = []
        for number, batch in enumerate(loader):
            plan = objective.plan(model, batch, Draws(3, 0, number, 4, first))
            keys = batch["keys"]
            partners = [keys[row] for row in plan.partner.tolist()]
            lengths = batch["attention_mask"].sum(dim=1).tolist()
            ratios = [row[:end].tolist() for row, end in zip(plan.ratio, lengths, strict=True)]
            numbers = [[*row, weight] for row, weight in zip(ratios, plan.label_weight.tolist(), strict=True)]
            seen.append((plan.site, list(zip(keys, partners, strict=True)), numbers))
        return seen

    alone = plans(0, 1)
    together = [plans(rank, ranks) for rank in range(ranks)]
    for number, (site, pairs, ratios) in enumerate(alone):
        shares = [rank[number] for rank in together if number < len(rank)]
        assert {share[0] for share in shares} == {site}
        assert [pair for share in shares for pair in share[1]] == pairs
        for own, expected in zip([row for share in shares for row in share[2]], ratios, strict=True):
            close(own, expected)
    assert any(key != partner for _, pairs, _ in alone for key, partner in pairs)


@pytest.mark.parametrize(
    ("launcher", "several"),
    [
        (
            "torchrun",
            [
                # 35 of 8: the last batch has three rows, none of them for the second process.
                {"samples": 35, "p": 0.7, "clean_weight": 0.3},
                # 37 of 8: five rows, one for the second; and three batches an optimizer step.
                {"method": "tmix", "samples": 37, "gradient_accumulation": 3},
            ],
        ),
        ("accelerate", [{"method": "ssmix", "samples": 24, "epochs": 1}]),
    ],
)
def test_two_processes_train_like_one(
    launcher: str,
    several: list[dict[str, Any]],
    reviews: Path,
    held_out: Path,
    still_bert: Path,
    tmp_path: Path,
) -> None:
    commands, expected = [], []
    for number, options in enumerate(several):
        config = TrainConfig(**{**CONFIG, **options})
        one, two, written = (tmp_path / f"{name}-{number}" for name in ("one", "two", "run.yaml"))
        write_config(written, config, Inputs())
        expected.append(
            train(reviews, one, str(still_bert), config, dev=held_out, evals=[("test", held_out)])
        )
        flags = ["--model", still_bert, "--config", written, "--dev", held_out]
        flags += ["--eval", f"test={held_out}", "--json"]
        commands.append(["train", *map(str, [reviews, two, *flags])])
    script = tmp_path / "script.py"
    script.write_text(SEVERAL.format(commands=commands))
    said = launched(launcher, script)
    # Expected is what one process alone says.
    for number, (line, alone) in enumerate(zip(said.splitlines(), expected, strict=True)):
        result = json.loads(line)
        assert (result["steps"], result["epoch"]) == (alone.steps, alone.epoch)
        close(losses(tmp_path / f"two-{number}"), losses(tmp_path / f"one-{number}"))
        for kind in ("eval", "calibration", "scaled"):
            close(result[kind]["test"], getattr(alone, kind)["test"])
        close(result["dev"], alone.dev)


def test_two_processes_train_folds_and_an_ensemble_like_one(
    reviews: Path, held_out: Path, still_bert: Path, tmp_path: Path
) -> None:
    config = TrainConfig(**{**CONFIG, "p": None, "lr": 1e-2, "samples": 30, "ensemble": 2})
    write_config(tmp_path / "run.yaml", config, Inputs(dev="cv:2"))
    alone = train(reviews, tmp_path / "one", str(still_bert), config, dev="cv:2", evals=[("test", held_out)])
    flags = ("--config", tmp_path / "run.yaml", "--eval", f"test={held_out}", "--json")
    result = json.loads(
        launched("torchrun", *TRAIN, reviews, tmp_path / "two", "--model", still_bert, *flags)
    )
    assert (result["steps"], result["tokens"]) == (alone.steps, alone.tokens)
    close(losses(tmp_path / "two"), losses(tmp_path / "one"))
    close(result["dev"], alone.dev)
    close(result["largest_p"], alone.largest_p)
    assert alone.ensemble is not None
    for kind in ("eval", "scaled"):
        close(result["ensemble"][kind]["test"], getattr(alone.ensemble, kind)["test"])


def test_a_run_goes_on_under_another_number_of_processes(
    reviews: Path, held_out: Path, still_bert: Path, tmp_path: Path
) -> None:
    config = TrainConfig(**{**CONFIG, "samples": 40, "checkpoint_steps": 3, "checkpoints_kept": 9})
    write_config(tmp_path / "run.yaml", config, Inputs())
    run = tmp_path / "run"
    alone = train(reviews, run, str(still_bert), config, evals=[("test", held_out)])
    expected = losses(run)
    for path in run.glob("checkpoint-*"):
        if path.name != "checkpoint-00000003":
            for file in path.iterdir():
                file.unlink()
            path.rmdir()
    flags = ("--config", tmp_path / "run.yaml", "--eval", f"test={held_out}", "--resume", "--json")
    result = json.loads(launched("torchrun", *TRAIN, reviews, run, "--model", still_bert, *flags))
    assert result["steps"] == alone.steps == 10
    close(losses(run), expected)
    close(result["eval"]["test"], alone.eval["test"])


def test_more_processes_than_samples_are_refused(reviews: Path, still_bert: Path, tmp_path: Path) -> None:
    given = (reviews, tmp_path / "x", "--model", still_bert, "--samples", 1)
    said = launched("torchrun", *TRAIN, *given, code=1)
    assert "1 text is too few for 2 processes" in said
    assert not (tmp_path / "x").exists()


def test_a_batch_that_ranks_cannot_share_is_refused(reviews: Path, still_bert: Path, tmp_path: Path) -> None:
    given = (reviews, tmp_path / "x", "--model", still_bert, "--batch-size", 7)
    said = launched("torchrun", *TRAIN, *given, code=1)
    assert "batch_size 7" in said
    assert not (tmp_path / "x").exists()


def test_a_device_of_ones_own_is_refused_to_several(monkeypatch: pytest.MonkeyPatch) -> None:
    from amix.engine.base.errors import UsageError
    from amix.train.run.accelerator import open_accelerator

    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match="--device cuda or cpu"):
        open_accelerator("cuda:1", "no")
