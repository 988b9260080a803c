"""`amix info`: what a file or folder is, and what is in it."""

from collections.abc import Callable, Mapping
from pathlib import Path

import click

from amix.cli.output import facts, json_line, json_option
from amix.cli.shell.places import unknown
from amix.cli.shell.steps import step_after
from amix.engine.base.errors import AmixError, UsageError
from amix.engine.base.kinds import NAMES, Kind, children, kind_of


@click.command()
@click.argument("folder")
@json_option
def command(folder: str, as_json: bool) -> None:
    """Say what FOLDER is and what it holds: a cache, an extractor, a run, a comparison, a model or a corpus.

    A cache may be at a URL.
    """
    from amix.loaders.stores import is_remote

    kind = "cache" if is_remote(folder) else kind_of(folder)
    if kind is None:
        raise AmixError(unknown(folder))
    found = {"kind": "shards" if kind == "cache" else kind, **_DESCRIBED[kind](folder)}
    if as_json:
        json_line(found)
        return
    found.pop("asked", None)  # every option: for machines
    # `max_length` beside `length_max` would be a riddle.
    names = {name: name.replace("_", " ") for name in found} | {"max_length": "length limit"}
    facts({names[name]: value for name, value in found.items() if value is not None})
    step_after(kind, folder)


def _extractor(folder: str) -> dict[str, object]:
    from amix.engine.base.heads import describe
    from amix.engine.extractor.folder import open_extractor

    extractor = open_extractor(folder)
    fidelity = extractor.fidelity
    measures = (
        {}
        if fidelity is None
        else {
            "rank_correlation": fidelity.rank_correlation.over_heads(),
            "relative_l2": fidelity.relative_l2.over_heads(),
        }
    )
    return {
        "model": extractor.model,
        "model_type": extractor.model_type,
        "relevance": extractor.relevance,
        "heads": describe(extractor.heads),
        "max_length": extractor.max_length,
        "dtype": extractor.dtype,
        "graphs": list(extractor.backends),
        **measures,
        "fingerprint": extractor.fingerprint,
    }


def _shards(folder: str) -> dict[str, object]:
    import numpy as np

    from amix.engine.base.heads import describe
    from amix.loaders.stream.dataset import RelevanceDataset

    dataset = RelevanceDataset(folder, head=None)
    manifest = dataset.manifest
    lengths = dataset.lengths()
    found: dict[str, object] = {
        "samples": manifest.samples,
        "tokens": manifest.tokens,
        "shards": len(manifest.shards),
        "bytes": manifest.tar_bytes,
        "bytes_per_token": round(manifest.tar_bytes / max(manifest.tokens, 1), 1),
        "length_median": int(np.median(lengths)),
        "length_max": int(lengths.max()),
        "heads": describe(manifest.heads),
        "relevance": manifest.relevance,
        "dtype": manifest.layout.dtype,
        "max_length": manifest.max_length,
        "truncated": manifest.truncated,
        "rejects": manifest.reject_count,
        "members": list(manifest.layout.members),
        "sha256": manifest.sha256,
    }
    if manifest.files:
        found["files"] = dict(manifest.files)
    if manifest.label_names is not None:
        counts = np.bincount(
            dataset.class_ids()[dataset.class_ids() >= 0], minlength=len(manifest.label_names)
        )
        found["classes"] = {
            name: None if manifest.class_weights else int(count)
            for name, count in zip(manifest.label_names, counts, strict=True)
        }
    return found


def _unfinished(folder: str) -> dict[str, object]:
    return {"finished_shards": sum(1 for _ in Path(folder).glob("shard-*.json"))}


def _caches(folder: str) -> dict[str, object]:
    from amix.loaders.shards.manifest import Manifest

    inside = children(Path(folder))
    caches = [Manifest.read(Path(folder, name)) for name, kind in inside.items() if kind == "cache"]
    return {
        "caches": {cache.folder.name: cache.samples for cache in caches},
        "others": {name: NAMES[kind] for name, kind in inside.items() if kind != "cache"},
    }


def _run(folder: str) -> dict[str, object]:
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


def _comparison(folder: str) -> dict[str, object]:
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


def _ranking(folder: str) -> dict[str, object]:
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


def _analysis(folder: str) -> dict[str, object]:
    from amix.study.attention.analysis import Analysis

    analysis = Analysis.read(Path(folder))
    return {"texts": analysis.texts, "heads": len(analysis.heads)}


def _checkpoint(folder: str) -> dict[str, object]:
    from amix.train.run.checkpoint import Checkpoint

    progress = Checkpoint.load(Path(folder)).state.progress
    return {"step": progress.step, "finished_epochs": progress.epoch, "best_epoch": progress.best_epoch}


def _model(folder: str) -> dict[str, object]:
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


def _corpus(place: str) -> dict[str, object]:
    from amix.loaders.corpus.files import columns_in
    from amix.loaders.corpus.find import find_files

    path = Path(place)
    inside = [folder / name for folder in (path, path / "data") for name in children(folder)]
    files = [path] if path.is_file() else [each for each in inside if each.is_file()]
    return {
        "files": [file.name for file in files],
        "bytes": sum(file.stat().st_size for file in files),
        "columns": columns_in(find_files(place, "train", None)[0]),
    }


def _fit(folder: str) -> dict[str, object]:
    from amix.study.fit.record import FitRecord

    path = Path(folder)
    asked = {name: value for name, value in FitRecord.read(path).asked.items() if value is not None}
    run = _run(str(path / "run")) if kind_of(path / "run") == "run" else {}
    return {
        "encoder": asked.get("--model"),
        "method": run.get("method"),
        "last": run.get("last"),
        "classifier": str(path / "run" / "model") if run.get("model_kept") else None,
        "page": (path / "report.html").is_file(),
        "holds": {name: NAMES[kind] for name, kind in children(path).items() if kind != "corpus"},
        "asked": asked,
    }


_DESCRIBED: Mapping[Kind, Callable[[str], dict[str, object]]] = {
    "fit": _fit,
    "extractor": _extractor,
    "cache": _shards,
    "unfinished cache": _unfinished,
    "folder of caches": _caches,
    "run": _run,
    "comparison": _comparison,
    "ranking": _ranking,
    "analysis": _analysis,
    "checkpoint": _checkpoint,
    "model": _model,
    "corpus": _corpus,
}
