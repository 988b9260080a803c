"""`amix info`: what is in a folder."""

from pathlib import Path

import click

from amix.cli.output import facts, json_line, json_option


@click.command()
@click.argument("folder")
@json_option
def command(folder: str, as_json: bool) -> None:
    """Show what FOLDER holds: shards, an extractor or a run. Shards may be at a URL."""
    from amix.engine.extractor.folder import RECORD
    from amix.train.run.files import METRICS

    if (Path(folder) / RECORD).is_file():
        found = _extractor(Path(folder))
    elif (Path(folder) / METRICS).is_file():
        found = _run(Path(folder))
    else:
        found = _shards(folder)
    if as_json:
        json_line(found)
    else:
        # `max_length` beside `length_max` would be a riddle.
        names = {name: name.replace("_", " ") for name in found} | {"max_length": "length limit"}
        facts({names[name]: _shown(value) for name, value in found.items()})


def _extractor(folder: Path) -> dict[str, object]:
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
        "kind": "extractor",
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
        "kind": "shards",
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


def _run(folder: Path) -> dict[str, object]:
    from amix.study.runs import RunRecord

    run = RunRecord.read(folder)
    return {"kind": "run", **run.as_dict(), "last": run.log[-1].as_dict() if run.log else None}


def _shown(value: object) -> object:
    from amix.loaders.corpus.names import listed

    match value:
        case dict():
            return listed([str(key) if count is None else f"{key} {count}" for key, count in value.items()])
        case list():
            return ", ".join(map(str, value))
        case _:
            return value
