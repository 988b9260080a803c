"""What the card itself can do: matrix products, memory, and copies to and from the host."""

import contextlib
from collections.abc import Iterator
from functools import partial

import torch

from gpu.card import Card
from gpu.journal import Journal
from gpu.scale import Scale

PRODUCTS: dict[str, tuple[torch.dtype, str]] = {
    "float32": (torch.float32, "highest"),
    "TF32": (torch.float32, "high"),
    "float16": (torch.float16, "highest"),
    "bfloat16": (torch.bfloat16, "highest"),
}


def product_figure(kind: str) -> str:
    """Return the name of the figure for products of a kind."""
    return f"products, {kind}"


@torch.inference_mode()
def measure(card: Card, scale: Scale, journal: Journal) -> dict[str, float]:
    """Write down all rates; return operations per second of products by kind."""
    rates = {}
    size = scale.product
    for kind, (dtype, precision) in PRODUCTS.items():
        a, b = (torch.randn(size, size, device=card.device).to(dtype) for _ in range(2))
        out = torch.empty_like(a)
        with _float32_products(precision):
            for _ in range(3):  # the first choose an algorithm, and wake the card
                torch.matmul(a, b, out=out)
            seconds = card.timed(partial(torch.matmul, a, b, out=out), scale.least)
        rates[kind] = 2 * size**3 / seconds
        journal.figure(product_figure(kind), rates[kind], "operations/s")
    del a, b, out
    _copies(card, scale, journal)
    card.release()
    return rates


def _copies(card: Card, scale: Scale, journal: Journal) -> None:
    here = torch.zeros(scale.bytes, dtype=torch.uint8, device=card.device)
    there = torch.zeros_like(here)
    host = torch.zeros(scale.bytes, dtype=torch.uint8)
    pinned = card.pinned(host)
    pairs = {
        # Each byte is read once and written once.
        "memory": (here, there, 2),
        "to the card, pinned": (here, pinned, 1),
        "to the card, pageable": (here, host, 1),
        "from the card, pinned": (pinned, here, 1),
        "from the card, pageable": (host, here, 1),
    }
    for name, (target, source, moves) in pairs.items():
        target.copy_(source)
        seconds = card.timed(partial(target.copy_, source), scale.least)
        journal.figure(f"bandwidth, {name}", moves * scale.bytes / seconds, "bytes/s")


@contextlib.contextmanager
def _float32_products(precision: str) -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
