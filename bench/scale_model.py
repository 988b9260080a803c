"""What a corpus of any size costs, from measured constants; it prints the tables of docs/scaling.md.

    python bench/scale_model.py

Constants and what they were measured on are in `MEASURED`, prices and habits that everybody has others of in `ASSUMED`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from amix.loaders.shards.choices import RelevanceDtype
from amix.loaders.shards.layout import BLOCK, INDEX_DTYPE, Layout

SIZES = {"1 GB": 1e9, "1 TB": 1e12, "100 TB": 1e14}


@dataclass(frozen=True)
class Measured:
    """What was measured; docs/scaling.md says where.

    text_bytes, tokens: of a text.  rates: tokens/s of one core by what is exported.  read: samples/s of one process.
    """

    text_bytes: float = 1304  # IMDB's first 3,000 test reviews, UTF-8
    tokens: int = 273  # of them, cut at 512
    rates: tuple[
        tuple[str, int, float], ...
    ] = (  # docs/measurements.md, "How fast precompute is", for two cores
        ("layer 0", 12, 50_259 / 2),
        ("layers 0-1", 24, 16_968 / 2),
        ("all 6 layers", 72, 4_881 / 2),
    )
    read: float = 38_062  # docs/measurements.md, "How fast shards are read and written": long texts, random
    manifest_bytes: float = 187.5  # of a shard, of a manifest of a million
    manifest_seconds: float = 1.7e-6  # of processor time
    record_seconds: float = 115e-6  # to open a local shard: its record, and the sizes of its files
    order_seconds: float = 30e-9  # of a number of the keyed order


@dataclass(frozen=True)
class Assumed:
    """Prices in dollars, as clouds list them, and how a corpus is cut. Put your own in."""

    core_hour: float = 0.04
    gigabyte_month: float = 0.023
    puts: float = 5e-6
    gets: float = 4e-7
    samples_per_shard: int = 4096
    files_per_shard: int = 4  # tar, index, checksums, record
    large_shards: int = 65_536


MEASURED, ASSUMED = Measured(), Assumed()


def sample_bytes(heads: int, dtype: RelevanceDtype, tokens: int = MEASURED.tokens) -> int:
    """Return what a text of so many tokens takes in tar, index and checksums."""
    layout = Layout(
        heads=heads, dtype=dtype, wide_ids=False, token_types=False, classes=0, cls=True, text=False
    )
    return (
        layout.array_bytes(tokens) + 2 * BLOCK + INDEX_DTYPE.itemsize + 4 * len(layout.crc_names)
    )  # 2 blocks: `cls`


def cost_table(size: float) -> Iterator[str]:
    """Yield the lines of the table of a corpus of `size` bytes of text."""
    texts = size / MEASURED.text_bytes
    shards = texts / ASSUMED.samples_per_shard
    puts = shards * ASSUMED.files_per_shard
    yield "| cached | core-hours | stored, GB | of the text | $ to compute | $ to put | $ a month | $ to get once |"
    yield "|---|---|---|---|---|---|---|---|"
    for name, heads, rate in MEASURED.rates:
        dtypes: tuple[RelevanceDtype, ...] = ("float16", "uint8")
        for dtype in dtypes:
            hours = texts * MEASURED.tokens / rate / 3600
            stored = texts * sample_bytes(heads, dtype)
            cells = [
                f"{name}, {dtype}",
                number(hours),
                number(stored / 1e9),
                f"{stored / size:.1f} x",
                number(hours * ASSUMED.core_hour),
                number(puts * ASSUMED.puts),
                number(stored / 1e9 * ASSUMED.gigabyte_month),
                number(puts * ASSUMED.gets),
            ]
            yield f"| {' | '.join(cells)} |"


def limit_table() -> Iterator[str]:
    """Yield the lines of the table of what grows with the corpus."""
    large, plain = ASSUMED.large_shards, ASSUMED.samples_per_shard
    rows: list[tuple[str, Sequence[float]]] = []
    texts = [size / MEASURED.text_bytes for size in SIZES.values()]
    rows.append(("texts, millions", [count / 1e6 for count in texts]))
    rows.append(("tokens, millions", [count * MEASURED.tokens / 1e6 for count in texts]))
    for per_shard in (plain, large):
        shards = [count / per_shard for count in texts]
        rows.append((f"shards of {per_shard:,}", shards))
        rows.append(("- manifest, MB", [count * MEASURED.manifest_bytes / 1e6 for count in shards]))
        rows.append(("- to parse it, s", [count * MEASURED.manifest_seconds for count in shards]))
        rows.append(("- to open the data set, s", [count * MEASURED.record_seconds for count in shards]))
    rows.append(("indexes of all shards, GB", [count * INDEX_DTYPE.itemsize / 1e9 for count in texts]))
    rows.append(("order drawn as a whole, GB", [count * 8 / 1e9 for count in texts]))
    rows.append(("keyed order, s of an epoch", [count * MEASURED.order_seconds for count in texts]))
    rows.append(("reading an epoch, process-hours", [count / MEASURED.read / 3600 for count in texts]))
    yield f"| | {' | '.join(SIZES)} |"
    yield "|---|---|---|---|"
    for name, values in rows:
        yield f"| {name} | {' | '.join(map(number, values))} |"


def number(value: float) -> str:
    """Return a number with three figures that count."""
    if value >= 1000:
        return f"{float(f'{value:.3g}'):,.0f}"
    return f"{value:.3g}" if value >= 0.001 else "< 0.001"


def page() -> str:
    """Return all tables, as docs/scaling.md has them."""
    lines = []
    for name, size in SIZES.items():
        lines += [f"### {name} of text", "", *cost_table(size), ""]
    lines += ["### What grows", "", *limit_table()]
    return "\n".join(lines)


if __name__ == "__main__":
    print(page())  # noqa: T201  a bench prints
