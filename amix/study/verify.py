"""Are runs, comparisons and models whole? What carries a hash is compared with it; the rest is read.

Every function returns what is wrong, in sentences; an empty list when nothing is.
"""

import json
from collections.abc import Callable
from pathlib import Path

from amix.engine.base.errors import AmixError
from amix.engine.extractor.tokenizer import open_tokenizer
from amix.study.attention.analysis import Analysis
from amix.study.attention.ranking import HeadRanking
from amix.study.compare.comparison import COMPARISON, Comparison
from amix.study.compare.outcome import RESULT
from amix.study.runs import RunRecord
from amix.train.run import checkpoint
from amix.train.run.checkpoint import Checkpoint
from amix.train.run.files import ENSEMBLE, MODEL, PREDICTIONS
from amix.train.run.result import KeptResult
from amix.train.score.evaluate import Predictions


def verify_run(folder: Path) -> list[str]:
    """Check the log and options of a run, the hashes of its checkpoints, its predictions and its models."""
    problems = _checked(RunRecord.read, folder)
    for each in checkpoint.find(folder):
        problems += verify_checkpoint(each)
    for each in (folder, *sorted(folder.glob(f"{ENSEMBLE}/*"))):
        for path in sorted((each / PREDICTIONS).glob("*.safetensors")):
            problems += _checked(Predictions.load, path)
        if (each / MODEL).is_dir():
            problems += verify_model(each / MODEL)
    return problems


def verify_comparison(folder: Path) -> list[str]:
    """Check the document of a comparison, and every finished run: the hash of its result, and the run itself."""
    problems = _checked(Comparison.read, folder) if (folder / COMPARISON).is_file() else []
    for path in sorted(folder.glob(f"runs/*/*/*/seed-*/{RESULT}")):
        problems += [*_checked(KeptResult.read, path), *verify_run(path.parent)]
    return problems


def verify_checkpoint(folder: Path) -> list[str]:
    """Check the hashes of a checkpoint."""
    return _checked(Checkpoint.load, folder)


def verify_ranking(folder: Path) -> list[str]:
    """Read a ranking of heads."""
    return _checked(HeadRanking.read, folder)


def verify_analysis(folder: Path) -> list[str]:
    """Read an analysis of heads."""
    return _checked(Analysis.read, folder)


def verify_model(folder: Path) -> list[str]:
    """Check that the configuration and the tokenizer of a model can be read, and that its weights are all there."""
    problems = _checked(_read_json, folder / "config.json")
    if (folder / "tokenizer.json").is_file():
        problems += _checked(open_tokenizer, folder / "tokenizer.json")
    for path in sorted(folder.glob("*.safetensors")):
        problems += _checked(_open_weights, path)
    for path in sorted(folder.glob("*.index.json")):
        problems += _checked(_require_parts, path)
    return problems


def _open_weights(path: Path) -> None:
    from safetensors import safe_open

    with safe_open(path, "numpy"):  # compares the size of the file with what its header says
        pass


def _require_parts(index: Path) -> None:
    document = _read_json(index)
    parts = document.get("weight_map") if isinstance(document, dict) else None
    for name in sorted(set(parts.values())) if isinstance(parts, dict) else []:
        if not (index.parent / name).is_file():
            raise FileNotFoundError(f"{index.parent / name} is missing, and {index.name} names it")


def _read_json(path: Path) -> object:
    return json.loads(path.read_text(encoding="utf-8"))


def _checked(read: Callable[[Path], object], path: Path) -> list[str]:
    try:
        read(path)
    except AmixError as problem:
        return [str(problem)]
    except Exception as problem:  # safetensors and JSON have errors of their own
        return [f"{path}: cannot be read ({problem}). Copy or write it again."]
    return []
