"""What can be chosen when shards are written. No numpy here, so that help texts can name the choices quickly."""

from typing import Literal

RelevanceDtype = Literal["float16", "uint8", "float32"]  # uint8 is a square-root code
RelevanceKind = Literal["received", "cls"]  # rule 1 of docs/architecture.md, section 4
