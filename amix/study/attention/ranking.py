"""The document of `amix select`, `ranking.json`: the heads of a cache, the best first."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Self

from amix.engine.base import publish
from amix.engine.base.errors import TrainError
from amix.study.attention.profile import ProfiledHead
from amix.train.heads.proxy import RankedHead

RANKING = "ranking.json"


@dataclass(frozen=True, kw_only=True)
class HeadRanking:
    """Heads ranked for a cache and a model, the best first.

    shards: sha256 of the cache's manifest.  samples: number of texts that they were ranked on, None = all.
    heads: ranked without training a classifier, or all profiled by training.
    agreement: of a profile, the rank correlation with the ranking without training; None where it was not computed.
    """

    shards: str
    model: str
    samples: int | None
    heads: Sequence[RankedHead] | Sequence[ProfiledHead]
    agreement: float | None = None

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read `ranking.json` in `folder`. Raises TrainError when it is missing or damaged."""
        path = folder / RANKING
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            return cls(**{**document, "heads": [_head(each) for each in document["heads"]]})
        except (OSError, ValueError, KeyError, TypeError) as problem:
            raise TrainError(f"{path}: cannot be read ({problem}). Run 'amix select' again.") from None

    def write(self, folder: Path) -> None:
        """Publish `ranking.json` in `folder`."""
        publish.write_atomic(folder / RANKING, json.dumps(self.as_dict(), indent=1).encode() + b"\n")

    def columns(self) -> list[str]:
        """Return the names of the fields of each head."""
        return [each.name for each in fields(self.heads[0])]

    def as_dict(self) -> dict[str, object]:
        """Return the ranking as JSON values."""
        return {
            "shards": self.shards,
            "model": self.model,
            "samples": self.samples,
            **({} if self.agreement is None else {"agreement": self.agreement}),
            "heads": [asdict(each) for each in self.heads],
        }


def _head(given: Mapping[str, object]) -> RankedHead | ProfiledHead:
    kind = ProfiledHead if "seeds" in given else RankedHead
    return kind(**given)  # type: ignore[arg-type]  # JSON values; a missing or unknown field is a TypeError
