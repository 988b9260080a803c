"""Parquet through pyarrow, row group by row group, only the columns needed."""

import json
from collections.abc import Generator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from amix.engine.base.errors import CorpusError
from amix.loaders.corpus.find import DataFile
from amix.loaders.corpus.source import Kind, LabelType, Record
from amix.loaders.corpus.formats.unpacked import damaged, reading

_BATCH = 1024  # rows


class Parquet:
    """One Parquet file."""

    def __init__(self, file: DataFile, place: str) -> None:
        """Read the footer. Raises CorpusError for a damaged file."""
        self._path = file.path
        self._place = place
        with self._open() as parquet:
            self._schema = parquet.schema_arrow
            groups = range(parquet.num_row_groups)
            self._rows: list[int] = [parquet.metadata.row_group(group).num_rows for group in groups]
        self.row_count: int | None = sum(self._rows)

    def columns(self) -> Sequence[str]:
        """Return the names of the columns."""
        return list(self._schema.names)

    def require_text(self, column: str) -> None:
        """Raise CorpusError for a column of lists, structs or bytes. Numbers are rejected row by row."""
        type_ = self._schema.field(column).type
        if pa.types.is_nested(type_) or pa.types.is_binary(type_) or pa.types.is_large_binary(type_):
            raise CorpusError(
                f"{self._path}: column {column!r} holds {type_}, which is not text. Name a column of strings "
                f"with --text-column or --pair-column: {', '.join(self._schema.names)}."
            )

    def label_type(self, column: str) -> LabelType:
        """Return the kind that the Arrow type tells, and the names of a ClassLabel as `datasets` writes them."""
        type_ = self._schema.field(column).type
        feature = self._features().get(column)
        if isinstance(feature, list) and len(feature) == 1:
            feature = feature[0]  # how older versions write a list
        elif isinstance(feature, dict) and isinstance(feature.get("feature"), dict):
            feature = feature["feature"]
        if isinstance(feature, dict) and feature.get("_type") == "ClassLabel" and feature.get("names"):
            return LabelType(_kind(type_), tuple(map(str, feature["names"])))
        return LabelType(_kind(type_))

    def records(self, columns: Sequence[str], start: int, base: int) -> Generator[Record, None, int]:
        """Yield the records from row `start` on, without reading the row groups before it."""
        total = sum(self._rows)
        group = number = 0
        while group < len(self._rows) and number + self._rows[group] <= start:
            number += self._rows[group]
            group += 1
        if number >= total:
            return total
        wanted = list(dict.fromkeys(columns))
        groups = list(range(group, len(self._rows)))
        with self._open() as parquet:
            batches = parquet.iter_batches(_BATCH, groups, wanted, use_threads=False)
            while True:
                try:
                    batch = next(batches, None)
                except (pa.ArrowException, OSError) as problem:
                    raise damaged(self._path, problem) from None
                if batch is None:
                    return total
                skip = min(max(0, start - number), batch.num_rows)
                part = batch.slice(skip)
                number += skip
                values = [_values(part.column(column)) for column in columns]
                for row in zip(*values, strict=True):
                    bad = next((value for value in row if isinstance(value, _Undecodable)), None)
                    if bad is None:
                        yield base + number, row, None
                    else:
                        yield base + number, None, f"{self._place}row {number}: not UTF-8"
                    number += 1

    def _open(self) -> pq.ParquetFile:
        with reading(self._path):
            try:
                return pq.ParquetFile(self._path)
            except pa.ArrowException as problem:
                raise damaged(self._path, problem) from None

    def _features(self) -> dict[str, Any]:  # Any: JSON
        try:
            noted = json.loads((self._schema.metadata or {}).get(b"huggingface", b"{}"))
            features = noted["info"]["features"]
        except (ValueError, KeyError, TypeError):
            return {}
        return features if isinstance(features, dict) else {}


class _Undecodable:
    """Takes the place of a string that is not UTF-8."""


def _values(column: pa.Array) -> list[object]:
    try:
        values: list[object] = column.to_pylist()
        return values
    except UnicodeDecodeError:
        return [_value(scalar) for scalar in column]


def _value(scalar: pa.Scalar) -> object:
    try:
        return scalar.as_py()
    except UnicodeDecodeError:
        return _Undecodable()


def _kind(type_: pa.DataType) -> Kind | None:
    if pa.types.is_dictionary(type_):
        type_ = type_.value_type
    if pa.types.is_boolean(type_):
        return "boolean"
    if pa.types.is_integer(type_) or pa.types.is_floating(type_):
        return "integer"
    if pa.types.is_string(type_) or pa.types.is_large_string(type_) or pa.types.is_string_view(type_):
        return "string"
    if pa.types.is_list(type_) or pa.types.is_large_list(type_) or pa.types.is_fixed_size_list(type_):
        return "list"
    return None
