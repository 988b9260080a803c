"""Where in a model a plan is applied, as text: `embedding`, `hidden:3` or `pooled`."""

import re

_HIDDEN = re.compile(r"hidden:(\d{1,4})", re.ASCII)


def hidden_layer(site: str) -> int | None:
    """Return k of `hidden:k`, the number of layers that run before mixing; None for any other text."""
    match = _HIDDEN.fullmatch(site)
    return None if match is None else int(match[1])
