"""What training leaves, for `amix info`: models, runs and their checkpoints, comparisons, rankings, analyses, fits."""

from pathlib import Path

from amix.cli.description.data import Facts
from amix.engine.base.errors import UsageError
from amix.engine.base.kinds import NAMES, children, kind_of

_SCORES = ("accuracy", "macro_f1", "nll", "ece")


def model(folder: str) -> Facts:
    """Describe a model by its configuration and files."""
    import json

    try:
        config = dict(json.loads((Path(folder) / "config.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as problem:
        raise UsageError(
            f"{Path(folder) / 'config.json'}: cannot be read ({problem}). Copy it again."
        ) from None
    weights = [path for path in Path(folder).iterdir() if path.suffix in (".safetensors", ".bin")]
    return {
        "architecture": config.get("architectures"),
        "model_type": config.get("model_type"),
        "layers": config.get("num_hidden_layers"),
        "heads_per_layer": config.get("num_attention_heads"),
        "width": config.get("hidden_size"),
        "classes": list(dict(config.get("id2label") or {}).values()),
        "tokenizer": (Path(folder) / "tokenizer.json").is_file(),
        "bytes": sum(path.stat().st_size for path in weights),
    }


def run(folder: str) -> Facts:
    """Describe a run: its options, and the last line of its log."""
    from amix.study.runs import RunRecord
    from amix.train.run import checkpoint
    from amix.train.run.files import MODEL

    run = RunRecord.read(Path(folder))
    return {
        "model_kept": (run.folder / MODEL).is_dir(),
        "checkpoints": [path.name for path in checkpoint.find(run.folder)],
        **run.as_dict(),
        "last": run.log[-1].as_dict() if run.log else None,
    }


def checkpoint(folder: str) -> Facts:
    """Describe a checkpoint of a run."""
    from amix.train.run.checkpoint import Checkpoint

    progress = Checkpoint.load(Path(folder)).state.progress
    return {"step": progress.step, "finished_epochs": progress.epoch, "best_epoch": progress.best_epoch}


def comparison(folder: str) -> Facts:
    """Describe a comparison; one that is not finished by the number of its runs."""
    from amix.study.compare.comparison import COMPARISON, Comparison
    from amix.study.compare.outcome import RESULT

    finished = sum(1 for _ in Path(folder).glob(f"runs/*/*/*/seed-*/{RESULT}"))
    if not (Path(folder) / COMPARISON).is_file():  # it is written when all runs are there
        return {"finished_runs": finished}
    grid = Comparison.read(Path(folder)).grid
    return {
        "finished_runs": finished,
        "runs": sum(1 for _ in grid.cells()),
        "model": grid.model,
        "corpora": list(grid.corpora),
        "sets": sorted({name for corpus in grid.corpora.values() for name in corpus.evals}),
        "methods": list(grid.methods),
        "samples": ["all" if number is None else number for number in grid.samples],
        "seeds": list(grid.seeds),
    }


def ranking(folder: str) -> Facts:
    """Describe a ranking of heads."""
    from amix.study.attention.ranking import HeadRanking

    ranking = HeadRanking.read(Path(folder))
    best = ranking.heads[0]
    return {
        "best": best.head,
        "heads": len(ranking.heads),
        "by": "training" if "seeds" in ranking.columns() else "separation, without training",
        "model": ranking.model,
        "samples": ranking.samples,
        "agreement": ranking.agreement,
    }


def analysis(folder: str) -> Facts:
    """Describe an analysis of heads."""
    from amix.study.attention.analysis import Analysis

    analysis = Analysis.read(Path(folder))
    return {"texts": analysis.texts, "heads": len(analysis.heads)}


def fit(folder: str) -> Facts:
    """Describe a fit as far as it got; `asked` has every option that it was begun with."""
    from amix.loaders.shards.manifest import Manifest
    from amix.study.fit.record import FitRecord
    from amix.study.fit.stages import RESULT
    from amix.study.runs import RunRecord
    from amix.train.run.files import MODEL
    from amix.train.run.result import KeptResult

    out = Path(folder)
    asked = FitRecord.read(out).asked
    inside = {name: NAMES[kind] for name, kind in children(out).items() if kind != "corpus"}  # its own JSON
    method = None if asked.get("--budget") else asked.get("--method")  # with a budget it is found out first
    found: Facts = {"encoder": asked.get("--model"), "method": method}
    if kind_of(shards := out / "shards" / "train") == "cache":
        cache = Manifest.read(shards)
        found |= {
            "corpus": dict(cache.files) or cache.recipe.document.get("corpus", {}).get("id"),
            "texts": cache.samples,
            "labels": len(cache.label_names or ()),
        }
    if kind_of(out / "run") == "run":
        record = RunRecord.read(out / "run")
        found |= {"encoder": record.inputs.model, "method": record.config.method}
    for name, key in (("run", "score"), ("baseline", "score_without_mixing")):
        if (kept := out / name / RESULT).is_file():
            result = KeptResult.read(kept).result
            on, scores = next(iter(result.eval.items()), ("dev", result.dev))
            found |= {"head": result.head} if name == "run" else {}
            found[key] = None if scores is None else {"on": on, **{each: scores[each] for each in _SCORES}}
    return {
        **found,
        "classifier": str(out / "run" / MODEL) if (out / "run" / MODEL).is_dir() else None,
        "page": (out / "report.html").is_file(),
        "holds": inside,
        "asked": {name: value for name, value in asked.items() if value is not None},
    }
