"""Make the caches that grids name, on this machine's CPU.

    python bench/evidence/caches.py bench/evidence/*.yaml      # says where to run 'amix compare GRID OUT' then

AMIX_GPU (default /tmp/gpu) holds `data` and `minilm`, as docs/results/gpu/README.md describes; AMIX_WORK (default
$AMIX_GPU/work) gets the caches. Those that are there are left as they are.
"""

import sys
from dataclasses import replace
from pathlib import Path

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from gpu.caches import FOLDER, Maker, named, spelled_out
from gpu.evidence import has_students
from gpu.extractors import LAYERS, Variant, export
from gpu.grids import heads_of
from gpu.places import Places
from gpu.scale import REAL

from amix.study.compare.gridfile import grid_of


def main(grids: list[Path]) -> None:
    """Make what is missing."""
    places, scale = Places.from_environment(smoke=False), replace(REAL, device="cpu")
    for path in grids:
        document = yaml.safe_load(path.read_text("utf-8"))
        document["corpora"] = spelled_out(document["corpora"])
        maker = Maker(places, scale, document["model"], heads_of(grid_of(document, path).cells()))
        extractor = Variant(encoder=document["model"], heads=maker.heads, dtype="float32").folder(places)
        export(str(maker.model), extractor, LAYERS[maker.heads], "float32")
        corpora = document["corpora"]
        if has_students(document):  # they read labels for these texts
            corpora = {
                **corpora,
                **{f"{name} unlabelled": {"train": f"{FOLDER}/{name}/unlabelled"} for name in corpora},
            }
        for cache in maker.missing(named(corpora)):
            maker.make(cache, extractor, seconds=24 * 3600)
        link = maker.root / document["model"]
        if not link.exists():
            link.symlink_to(maker.model)
        print(f"{path.name}: run it in {maker.root}")  # noqa: T201  its answer


if __name__ == "__main__":
    main(list(map(Path, sys.argv[1:])))
