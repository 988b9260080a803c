"""What data and what is computed from them hold, for `amix info`: corpora, extractors and caches."""

from pathlib import Path

from amix.engine.base.kinds import NAMES, children

Facts = dict[str, object]  # JSON values by name, in the order in which they are shown


def corpus(place: str) -> Facts:
    """Describe files, or a folder of them, whose training split is looked at."""
    from dataclasses import asdict

    from amix.engine.base.errors import CorpusError
    from amix.loaders.corpus.glance import glance_at

    path = Path(place)
    inside = [folder / name for folder in (path, path / "data") for name in children(folder)]
    files = [path] if path.is_file() else [each for each in inside if each.is_file()]
    found: Facts = {
        "files": [file.name for file in files],
        "bytes": sum(file.stat().st_size for file in files),
    }
    try:
        return {**found, **({"split": "train"} if path.is_dir() else {}), **asdict(glance_at(place))}
    except CorpusError as problem:
        return {**found, "problem": str(problem)}


def extractor(folder: str) -> Facts:
    """Describe an extractor, with the fidelity of one that rounds."""
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


def shards(folder: str) -> Facts:
    """Describe a cache of shards, which may be at a URL."""
    import numpy as np

    from amix.engine.base.heads import describe
    from amix.loaders.stream.dataset import RelevanceDataset

    dataset = RelevanceDataset(folder, head=None)
    manifest = dataset.manifest
    lengths = dataset.lengths()
    found: Facts = {
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


def unfinished(folder: str) -> Facts:
    """Describe a cache that is not finished."""
    return {"finished_shards": sum(1 for _ in Path(folder).glob("shard-*.json"))}


def caches(folder: str) -> Facts:
    """Describe a folder of caches."""
    from amix.loaders.shards.manifest import Manifest

    inside = children(Path(folder))
    caches = [Manifest.read(Path(folder, name)) for name, kind in inside.items() if kind == "cache"]
    return {
        "caches": {cache.folder.name: cache.samples for cache in caches},
        "others": {name: NAMES[kind] for name, kind in inside.items() if kind != "cache"},
    }
