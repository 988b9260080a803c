"""One loader at work: amix, WebDataset, MosaicML Streaming or LitData, in a process of its own.

    python bench/peers/loading.py TASK FORMAT FOLDER [--kind short|long] [--samples N]

TASK: `write` stores the texts of bench/measuring/payload.py in FOLDER; `read` delivers batches of 64 with the relevance
of one head, collated to tensors, in the format's own shuffled order, as its documentation says to; `random` the
same through bare random access, in one uniform order for all; `open` opens a cache of amix, delivers a batch, and
says what that took; `s3` reads a cache of amix from an S3-compatible server on loopback, and says how many times as
fast epochs after the first are as those from its own folder, in turns. All read with no worker processes and the
file cache warm. Prints one JSON object.

MosaicML Streaming and LitData ask for a torch of their own, so they run in an environment of their own, which needs
nothing of amix but its sources.
"""

import argparse
import importlib.machinery
import json
import statistics
import sys
import tempfile
import time
import types
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch  # the memory of `open` is counted from here

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "bench")]

from measuring.payload import Text, texts  # noqa: E402  its folder is put on the path above

if TYPE_CHECKING:
    from amix.loaders.stream.batch import Batch

BATCH = 64
HEAD = 41  # 3.5
SPECIAL = (0, 101, 102)
SECONDS = 1.0  # of reading, at least
SHARD = 1 << 26  # bytes; what MDS does by default

Batches = Iterable["Batch"]


def own_memory() -> int:
    """Return the bytes of memory that are this process's alone: not those of mapped files."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("Anonymous:")).split()[1])


def without_images() -> None:
    """Stand in for torchvision where it was built for another torch: MosaicML Streaming imports it for images alone."""
    try:
        importlib.import_module("torchvision")
    except (ImportError, RuntimeError):
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        names = (
            "torchvision",
            "torchvision.datasets",
            "torchvision.transforms",
            "torchvision.transforms.functional",
        )
        for name in names:
            module: Any = types.ModuleType(name)  # Any: it gets attributes that a module has not
            module.VisionDataset, module.to_tensor = type("VisionDataset", (), {}), None
            module.__spec__ = importlib.machinery.ModuleSpec(name, None)  # others look whether there is one
            sys.modules[name] = module


def sample(number: int, ids: Any, relevance: Any, label: int) -> dict[str, Any]:  # noqa: ANN401  whatever is read
    """Return what amix's data set gives for a text, from a decoded one with all heads."""
    ids_T = np.asarray(ids).astype(np.int64)
    return {
        "key": f"{number:012d}",
        "input_ids": ids_T,
        "content": ~np.isin(ids_T, SPECIAL),
        "relevance": np.asarray(relevance)[HEAD].astype(np.float32),
        "labels": label,
    }


def collated(samples: list[dict[str, Any]]) -> "Batch":
    """Return a padded batch of tensors: the same code for all."""
    from amix.loaders.stream.collate import Collate

    return Collate(0)(samples)


class _Amix:
    """Ours. What the methods do is said on top, with the tasks."""

    def write(self, folder: Path, stream: Iterator[Text]) -> None:
        from measuring.caches import write_cache

        write_cache(folder, stream)

    def read(self, folder: Path, head: str = "3.5") -> Batches:
        from amix.loaders.stream.dataset import RelevanceDataset
        from amix.loaders.stream.loader import RelevanceLoader

        return RelevanceLoader(RelevanceDataset(folder, head=head), batch_size=BATCH)

    def random(self, folder: Path) -> tuple[int, "Callable[[list[int]], Batch]"]:
        from amix.loaders.stream.collate import as_tensors
        from amix.loaders.stream.dataset import RelevanceDataset

        dataset = RelevanceDataset(folder, head="3.5")
        return len(dataset), lambda numbers: as_tensors(dataset.batch(numbers))


class _WebDataset:
    """Its pipeline: shards in turn, a buffer of 1,000 samples to shuffle in, its decoder."""

    def write(self, folder: Path, stream: Iterator[Text]) -> None:
        import webdataset

        folder.mkdir()
        with webdataset.ShardWriter(str(folder / "shard-%08d.tar"), maxcount=4096, verbose=0) as writer:
            for number, text in enumerate(stream):
                writer.write(
                    {
                        "__key__": f"{number:012d}",
                        "input_ids.npy": text.ids,
                        "relevance.npy": text.relevance.astype(np.float16),
                        "cls": text.label,
                    }
                )

    def read(self, folder: Path) -> Batches:
        import webdataset

        def picked(item: dict[str, Any]) -> dict[str, Any]:
            return sample(int(item["__key__"]), item["input_ids.npy"], item["relevance.npy"], item["cls"])

        tars = sorted(map(str, folder.glob("*.tar")))
        pipeline = webdataset.WebDataset(tars, shardshuffle=len(tars), empty_check=False)
        batches: Batches = pipeline.shuffle(1000).decode().map(picked).batched(BATCH, collation_fn=collated)
        return batches


class _Pipeline:
    """Ours, of WebDataset's parts, over amix's tars: buffer and batches as there, with their checksums compared."""

    def read(self, folder: Path) -> Batches:
        from amix.loaders.stream.webdataset import pipeline

        batches: Batches = pipeline(sorted(map(str, folder.glob("*.tar"))), head="3.5", batch_size=BATCH)
        return batches


class _Mds:
    """MosaicML Streaming."""

    def __init__(self) -> None:
        without_images()

    def write(self, folder: Path, stream: Iterator[Text]) -> None:
        from streaming import MDSWriter

        columns = {"input_ids": "ndarray:uint16", "relevance": "ndarray:float16", "label": "int"}
        with MDSWriter(out=str(folder), columns=columns, size_limit=SHARD) as writer:
            for text in stream:
                relevance = text.relevance.astype(np.float16)
                writer.write({"input_ids": text.ids, "relevance": relevance, "label": text.label})

    def read(self, folder: Path) -> Batches:
        from streaming import StreamingDataset
        from torch.utils.data import DataLoader

        dataset = StreamingDataset(local=str(folder), shuffle=True, batch_size=BATCH)
        return DataLoader(dataset, batch_size=BATCH, collate_fn=_rows_collated)

    def random(self, folder: Path) -> tuple[int, "Callable[[list[int]], Batch]"]:
        from streaming import StreamingDataset

        dataset = StreamingDataset(local=str(folder), shuffle=False, batch_size=BATCH)
        return len(dataset), lambda numbers: _rows_collated([dataset[number] for number in numbers])


class _LitData:
    """LitData."""

    def write(self, folder: Path, stream: Iterator[Text]) -> None:
        from litdata.streaming.writer import BinaryWriter

        writer = BinaryWriter(str(folder), chunk_bytes=SHARD)
        for number, text in enumerate(stream):
            relevance = text.relevance.astype(np.float16)
            writer[number] = {"input_ids": text.ids, "relevance": relevance, "label": text.label}
        writer.done()
        writer.merge()

    def read(self, folder: Path) -> Batches:
        from litdata import StreamingDataLoader, StreamingDataset

        dataset = StreamingDataset(str(folder), shuffle=True)
        batches: Batches = StreamingDataLoader(
            dataset, batch_size=BATCH, num_workers=0, collate_fn=_rows_collated
        )
        return batches

    def random(self, folder: Path) -> tuple[int, "Callable[[list[int]], Batch]"]:
        from litdata import StreamingDataset

        dataset = StreamingDataset(str(folder), shuffle=False)
        return len(dataset), lambda numbers: _rows_collated([dataset[number] for number in numbers])


FORMATS: dict[str, Any] = {
    "amix": _Amix,
    "wds": _WebDataset,
    "pipeline": _Pipeline,
    "mds": _Mds,
    "litdata": _LitData,
}


def _rows_collated(rows: list[dict[str, Any]]) -> "Batch":
    return collated([sample(0, row["input_ids"], row["relevance"], int(row["label"])) for row in rows])


def _random(length: int, batch_of: "Callable[[list[int]], Batch]") -> Callable[[], "Iterator[Batch]"]:
    numbers = np.random.default_rng(0).permutation(length)

    def epoch() -> "Iterator[Batch]":
        for begin in range(0, length, BATCH):
            yield batch_of(numbers[begin : begin + BATCH].tolist())

    return epoch


def _from_s3(folder: Path, samples: int) -> float:
    """Return the samples/s of epochs from S3 after the first, over those from `folder`: the median of 40 turns."""
    import fsspec
    from moto.server import ThreadedMotoServer

    from amix.loaders.shards.remote import CacheOptions
    from amix.loaders.stream.dataset import RelevanceDataset
    from amix.loaders.stream.loader import RelevanceLoader

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        access = {"key": "any", "secret": "any", "endpoint_url": f"http://{host}:{port}"}
        bucket = fsspec.filesystem("s3", **access)
        bucket.mkdir("bench")
        bucket.put(f"{folder}/", "bench/cache", recursive=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as store:
            there = RelevanceDataset(
                "s3://bench/cache",
                head="3.5",
                storage_options=access,
                cache=CacheOptions(folder=Path(store)),
            )
            loaders = [
                RelevanceLoader(dataset, batch_size=BATCH)
                for dataset in (there, RelevanceDataset(folder, head="3.5"))
            ]
            seconds: list[list[float]] = [[], []]
            for turn in range(41):
                for which in (0, 1) if turn % 2 else (1, 0):
                    began = time.perf_counter()
                    assert sum(len(batch["keys"]) for batch in loaders[which]) == samples
                    seconds[which].append(time.perf_counter() - began)
    finally:
        server.stop()
    # The first epoch fetches.
    return float(statistics.median(local / remote for remote, local in list(zip(*seconds, strict=True))[1:]))


def _timed(epoch: "Callable[[], Iterable[Batch]]", samples: int) -> float:
    """Return samples per second of whole epochs, the first not counted."""
    total, seconds = 0, 0.0
    while seconds < SECONDS:
        began, seen = time.perf_counter(), 0
        for batch in epoch():
            assert isinstance(batch["relevance"], torch.Tensor)
            seen += len(batch["labels"])
        assert seen == samples, (seen, samples)
        if total:
            seconds += time.perf_counter() - began
        total += seen
    return (total - samples) / seconds


def _opened(folder: Path) -> dict[str, float]:
    """Return what it takes to open a cache of amix and deliver a first batch, and the memory of reading on."""
    before = own_memory()
    began = time.perf_counter()
    batches = iter(_Amix().read(folder, head="mean"))
    next(batches)
    seconds = time.perf_counter() - began
    for _ in range(2_000):
        next(batches)
    return {"seconds": seconds, "bytes": own_memory() - before}


def main() -> None:
    """Do the task and print what it took."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("task", choices=["write", "read", "random", "open", "s3"])
    parser.add_argument("format", choices=FORMATS)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kind", choices=["short", "long"], default="short")
    parser.add_argument("--samples", type=int, default=8_000)
    given = parser.parse_args()
    loader = FORMATS[given.format]()
    match given.task:
        case "write":
            made = list(texts(given.kind, given.samples))  # making them up is not what is timed
            began = time.perf_counter()
            loader.write(given.folder, iter(made))
            answer = {"rate": given.samples / (time.perf_counter() - began)}
        case "read":
            batches = loader.read(given.folder)
            answer = {"rate": _timed(lambda: batches, given.samples)}
        case "random":
            answer = {"rate": _timed(_random(*loader.random(given.folder)), given.samples)}
        case "s3":
            answer = {"ratio": _from_s3(given.folder, given.samples)}
        case "open":
            answer = _opened(given.folder)
    print(json.dumps(answer))  # noqa: T201  its answer


if __name__ == "__main__":
    main()
