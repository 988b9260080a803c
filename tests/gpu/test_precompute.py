"""Caches made on a card: equal bytes each time, whoever was killed and however many shared the card."""

import json
import os
import signal
import subprocess
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from amix.engine.base.errors import ShardError
from amix.loaders.precompute.run import PrecomputeOptions, precompute
from amix.loaders.shards.manifest import Manifest
from amix.loaders.stream.dataset import RelevanceDataset
from tests.conftest import write_jsonl
from tests.loaders.conftest import contents, document
from tests.loaders.precompute.runs import (
    PATIENCE,
    assert_whole_so_far,
    command,
    needs_proc,
    records,
    wait_for_the_end_of,
    wait_until,
    workers_of,
)
from tests.processes import started
from tests.shared import SharedFolders

pytestmark = [pytest.mark.gpu, pytest.mark.filterwarnings("default")]


@pytest.fixture(scope="module")
def corpus(shared: SharedFolders, review_rows: list[dict[str, Any]]) -> Path:
    """Three hundred reviews: 75 units of four."""
    rows = [{**row, "text": f"{row['text']} {turn}"} for turn in range(5) for row in review_rows]
    return shared.make("gpu-rows", lambda folder: write_jsonl(folder / "rows.jsonl", rows)) / "rows.jsonl"


@pytest.fixture(scope="module")
def options(device: str) -> PrecomputeOptions:
    return PrecomputeOptions(samples_per_shard=4, workers=1, device=device)


@pytest.fixture(scope="module")
def undisturbed(
    shared: SharedFolders, corpus: Path, tiny_extractor: Path, options: PrecomputeOptions
) -> Path:
    """What a run over `corpus` on the card that nobody disturbs publishes."""

    def build(folder: Path) -> None:
        precompute(str(corpus), folder, extractor=tiny_extractor, options=options)

    return shared.make(f"gpu-shards-{options.device}", build)


def test_a_cache_of_the_card_is_that_of_the_cpu_but_for_rounding(
    undisturbed: Path, corpus: Path, tiny_extractor: Path, options: PrecomputeOptions, tmp_path: Path
) -> None:
    precompute(
        str(corpus), tmp_path / "cpu", extractor=tiny_extractor, options=replace(options, device="cpu")
    )
    for head in ("0.0", "1.1"):
        expected = RelevanceDataset(tmp_path / "cpu", head=head)
        found = RelevanceDataset(undisturbed, head=head)
        assert len(found) == len(expected) == 300
        for number in range(0, 300, 13):
            np.testing.assert_array_equal(found[number]["input_ids"], expected[number]["input_ids"])
            np.testing.assert_allclose(
                found[number]["relevance"], expected[number]["relevance"], rtol=2**-9, atol=2e-4
            )


def test_the_card_is_recorded(card: str, undisturbed: Path) -> None:
    recorded = document(undisturbed / "shard-00000000.json")["plan"]["environment"]
    assert recorded["device"] == "cuda"
    assert "compute capability" in recorded["gpu"]
    assert (recorded["tf32"], "tokens" in recorded["batches"]) == ("off", True)


def has_moved(process: "subprocess.Popen[str]", out: Path, before: set[str]) -> bool:
    return records(out) != before or process.poll() is not None


@needs_proc
def test_a_killed_run_goes_on_to_the_same_bytes(
    undisturbed: Path, corpus: Path, tiny_extractor: Path, options: PrecomputeOptions, tmp_path: Path
) -> None:
    out, want = tmp_path / "out", contents(undisturbed)
    start = command(corpus, out, tiny_extractor, options, "--workers", 1, "--device", options.device)
    for victim in ("parent", "worker"):
        before = records(out)
        with started(start) as process:
            wait_until(partial(has_moved, process, out, before))
            workers = workers_of(process.pid)
            assert process.poll() is None, process.communicate()[1]
            os.kill(process.pid if victim == "parent" else workers[0], signal.SIGKILL)
            _, errors = process.communicate(timeout=PATIENCE)
        wait_for_the_end_of(workers)
        assert process.returncode == (-signal.SIGKILL if victim == "parent" else 1), errors
        assert 0 < len(records(out)) < 75
        assert_whole_so_far(out, want)
    precompute(str(corpus), out, extractor=tiny_extractor, options=options)
    assert contents(out) == want


@pytest.mark.parametrize("workers", [2, 3])
def test_workers_that_share_a_card_write_the_same_bytes(
    workers: int,
    undisturbed: Path,
    corpus: Path,
    tiny_extractor: Path,
    options: PrecomputeOptions,
    tmp_path: Path,
) -> None:
    precompute(
        str(corpus), tmp_path / "out", extractor=tiny_extractor, options=replace(options, workers=workers)
    )
    assert contents(tmp_path / "out") == contents(undisturbed)


def test_a_cache_of_the_cpu_is_not_continued_on_the_card(
    card: str, corpus: Path, tiny_extractor: Path, options: PrecomputeOptions, tmp_path: Path
) -> None:
    precompute(
        str(corpus), tmp_path / "out", extractor=tiny_extractor, options=replace(options, device="cpu")
    )
    (tmp_path / "out" / "manifest.json").unlink()
    with pytest.raises(ShardError, match=r"environment\.device.*--restart"):
        precompute(str(corpus), tmp_path / "out", extractor=tiny_extractor, options=options)


def test_long_and_short_texts_fill_real_batches(
    device: str, broad_bert: Path, shared: SharedFolders, tmp_path: Path
) -> None:
    """Texts of 3 to 512 tokens in one unit, so that batches reach both limits of a card's budget."""
    from amix.exporters.export import export

    extractor = shared.make("gpu-broad", lambda folder: export(str(broad_bert), folder))
    draw = np.random.default_rng(0)
    rows = [
        {"text": "film " * int(count), "label": int(count % 2)} for count in draw.geometric(1 / 100, 1500)
    ]
    corpus = write_jsonl(tmp_path / "rows.jsonl", rows)
    results = {}
    for name in ("once", "again"):
        precompute(
            str(corpus), tmp_path / name, extractor=extractor, options=PrecomputeOptions(device=device)
        )
        results[name] = contents(tmp_path / name)
    assert results["once"] == results["again"]
    manifest = Manifest.read(tmp_path / "once")
    assert (manifest.samples, manifest.max_length) == (1500, 512)
    dataset = RelevanceDataset(tmp_path / "once", head="mean")
    for number in (0, int(dataset.lengths().argmax()), int(dataset.lengths().argmin())):
        assert dataset[number]["relevance"].sum() == pytest.approx(dataset.lengths()[number], rel=2e-3)


def test_the_command_tells_what_it_did(
    device: str, corpus: Path, tiny_extractor: Path, options: PrecomputeOptions, tmp_path: Path
) -> None:
    from click.testing import CliRunner

    from amix.cli import main

    arguments = command(corpus, tmp_path / "out", tiny_extractor, options, "--device", device, "--json")[3:]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["samples"] == 300
    assert 0 < result["run"]["session_busy_share"] <= 1
