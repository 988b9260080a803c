"""Training steps per second: plain, with cached relevance, with relevance of the model in training."""

import json
import sys
from pathlib import Path

from measuring.command import ROOT, child

from gpu.journal import Journal
from gpu.scale import Scale

METHODS = ("none", "attentionmix", "attentionmix, online")


def training_steps(
    cache: Path, model: Path, work: Path, scale: Scale, journal: Journal, seconds: float
) -> None:
    """Write down what `bench/step_cost.py` measures, each method in turn on the same batches, in bfloat16.

    Raises subprocess.TimeoutExpired after `seconds`.
    """
    out = work / "steps.json"
    command = [sys.executable, str(ROOT / "bench/step_cost.py"), str(cache), "--model", str(model)]
    command += ["--steps", str(scale.steps), "--variants", ";".join(METHODS[1:]), "--device", scale.device]
    command += ["--precision", "bf16", "--json", str(out)]
    child(command, timeout=seconds)
    found = {each["measure"]: each["value"] for each in json.loads(out.read_text())}
    for method in METHODS:
        journal.figure(f"steps, {method}", found[f"steps per second, {method}"], "steps/s")
        if method != METHODS[0]:
            journal.figure(f"step, {method} over none", found[f"step of {method} over none"], "ratio")
