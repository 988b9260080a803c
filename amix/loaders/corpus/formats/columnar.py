"""What Parquet and Arrow files have in common: a schema, and batches of columns."""

import json
import os
from collections.abc import Callable, Generator, Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from amix.engine.base.errors import CorpusError
from amix.loaders.corpus.datafile import DataFile
from amix.loaders.corpus.source import Kind, LabelType, Record


def opened(file: DataFile, here: Callable[[bytes], pa.NativeFile]) -> pa.NativeFile:
    """Open a file for pyarrow: one of this machine by `here`, one in a store so that only what is needed is fetched."""
    if isinstance(file.path, Path):
        return here(os.fsencode(file.path))  # its bytes, since pyarrow takes no path that is not UTF-8
    return pa.PythonFile(file.path.open(buffering=0), mode="r")


class Columnar:
    """One file with a schema. A subclass reads it, and knows its number of rows."""

    row_count: int | None

    def __init__(self, file: DataFile, place: str, schema: pa.Schema) -> None:
        self._file = file
        self._place = place
        self._schema = schema
        self.dialect: dict[str, str] = {}
        self.remarks: Sequence[str] = ()

    def columns(self) -> Sequence[str]:
        """Return the names of the columns."""
        return list(self._schema.names)

    def advice(self) -> str:
        """Return nothing: the schema says which columns there are."""
        return ""

    def require_text(self, column: str) -> None:
        """Raise CorpusError for a column of lists, structs or bytes. Numbers are rejected row by row."""
        type_ = self._schema.field(column).type
        if pa.types.is_nested(type_) or pa.types.is_binary(type_) or pa.types.is_large_binary(type_):
            raise CorpusError(
                f"{self._file.path}: column {column!r} holds {type_}, which is not text. Name a column of strings "
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

    def _rows(
        self, batches: Iterable[pa.RecordBatch], columns: Sequence[str], number: int, start: int, base: int
    ) -> Generator[Record, None, None]:
        """Yield the records from row `start` on. number: of the first row in `batches`."""
        for batch in batches:
            skip = min(max(0, start - number), batch.num_rows)
            part = batch.slice(skip)
            number += skip
            values = [_values(part.column(column)) for column in columns]
            for row in zip(*values, strict=True) if values else [()] * part.num_rows:
                bad = next((value for value in row if isinstance(value, _Undecodable)), None)
                if bad is None:
                    yield base + number, row, None
                else:
                    yield base + number, None, f"{self._place}row {number}: not UTF-8"
                number += 1

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
