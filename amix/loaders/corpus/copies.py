"""Files of one corpus that look like copies of each other: with them its rows are read twice."""

import itertools
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import PurePath

from amix.loaders.corpus.datafile import DataFile

# What people and programs add to the name of a copy: "train.old", "train copy", "train-backup", "train (1)", "train~".
_COPY = re.compile(r"[-._ ]+(copy( ?\d+)?|bak|backup|old|orig|original)$|[-._ ]*\(\d+\)$|~$")
_PIECE = re.compile(r"(.+)-\d{5}-of-\d{5}.*")  # of one data set: its rows may be alike, but it is no copy
_MOST = 20  # files of which one row is compared, since rows such as "ok" are everywhere


def copies(files: Sequence[DataFile], first_rows: Iterable[Sequence[Sequence[object]]]) -> Iterator[str]:
    """Yield a sentence for each pair of files that look like copies, by their names or their first rows.

    first_rows: of every file, a few.
    """
    if len(files) < 2:
        return
    names: defaultdict[str, list[int]] = defaultdict(list)
    rows: defaultdict[str, list[int]] = defaultdict(list)
    counts = []
    for number, (file, found) in enumerate(zip(files, first_rows, strict=True)):
        names[_essence(file)].append(number)
        distinct = {repr(values) for values in found}
        counts.append(len(distinct))
        for row in distinct:
            rows[row].append(number)
    shared = Counter(pair for numbers in rows.values() for pair in itertools.combinations(numbers[:_MOST], 2))
    pairs = {pair for numbers in names.values() for pair in itertools.combinations(numbers, 2)}
    pairs |= {pair for pair, same in shared.items() if same * 2 > min(counts[number] for number in pair)}
    for one, other in sorted(pairs):
        if _is_piece(files[one], files[other]):
            continue
        same = f" ({shared[one, other]} of their first rows are the same)" if shared[one, other] else ""
        yield (
            f"{files[one].name} and {files[other].name} look like copies of one file{same}. Both are read: if that is "
            "not meant, move one away, or name the other one alone."
        )


def _is_piece(one: DataFile, other: DataFile) -> bool:
    found, beside = (_PIECE.fullmatch(file.plain_name) for file in (one, other))
    return found is not None and beside is not None and found[1] == beside[1] and found[0] != beside[0]


def _essence(file: DataFile) -> str:
    """Return the name without what the copy of a file adds to it."""
    path = PurePath(file.plain_name)
    stem = path.stem.lower()
    while (shorter := _COPY.sub("", stem)) != stem and shorter:
        stem = shorter
    return str(path.with_name(stem + path.suffix.lower()))
