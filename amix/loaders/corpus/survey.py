"""One pass over a label column, when nothing else tells what its classes are."""

import logging
import math
import re
from collections import Counter
from collections.abc import Mapping

from amix.engine.base.errors import CorpusError
from amix.engine.base.words import counted
from amix.loaders.corpus.labels import FractionError, Labels, UnusableError, kind_of, numbered, parsed
from amix.loaders.corpus.lists import Lists, holds_names
from amix.loaders.corpus.names import listed, lookalikes, shown
from amix.loaders.corpus.rows import UNLABELLED, CorpusOptions

_LOG = logging.getLogger(__name__)

_MOST_CLASSES = 10_000  # without --many-classes
_FEW_CLASSES = 10  # any number of rows may have so many
_ROWS_PER_CLASS = 5  # on average, if there are more classes
_MISSING = frozenset({"nan", "<na>", "n/a", "#n/a", "null"})
_DECIMAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?")


class Survey:
    """One pass over a label column: what kind its values are, and which classes occur.

    Names that the user gave are what counts; the column then only shows how its values mean them.
    """

    def __init__(self, what: str, column: str, options: CorpusOptions, *, strings_only: bool) -> None:
        self._where = f"{what}: the label column {column!r}"
        self._given = options.labels
        self._many = options.many_classes
        self._strings_only = strings_only
        self._first: dict[str, int] = {}  # the first row of each kind
        self._rows = 0  # with a label that can be used
        self._strings: Counter[str] = Counter()
        self._numbers: Counter[int] = Counter()
        self._lists = Lists()
        self._fraction: tuple[int, str] | None = None  # the first, with its row
        self._unusable: tuple[int, str] | None = None

    def add(self, row: int, value: object) -> None:
        """Add the label of row number `row`. Values that cannot be labels are left to `Labels.read`."""
        if value == []:
            self._lists.empty = True
        try:
            kind: str = kind_of(value)
        except UnusableError as problem:
            if isinstance(problem, FractionError):
                self._fraction = self._fraction or (row, str(value))
            self._unusable = self._unusable or (row, str(problem))
            return
        self._rows += 1
        match value:
            case str():
                name = value.strip()
                if self._strings_only and self._fraction is None and _is_fraction(name):
                    self._fraction = (row, name)
                self._strings[name] += 1
            case list():
                self._lists.add(value)
                kind = "list of names" if holds_names(value) else kind
            case int() | float() if kind == "integer":
                self._numbers[int(value)] += 1
        self._first.setdefault(kind, row)
        classes = max(len(self._strings), len(self._numbers), self._lists.classes)
        if not self._many and classes > max(_MOST_CLASSES, len(self._given or ())):
            raise self._too_many(f"more than {_MOST_CLASSES:,} classes")

    def finish(self) -> Labels:
        """Return how to read this column.

        Raises CorpusError for mixed kinds, for numbers with fractions, for more classes than a classifier could learn,
        and when no label can be used. Warns where the column could be meant otherwise.
        """
        if len(self._first) > 1:
            kinds = ", ".join(f"{kind} (first in row {row})" for kind, row in sorted(self._first.items()))
            raise CorpusError(f"{self._where} mixes kinds: {kinds}. Make its values all of one kind.")
        match next(iter(self._first), None):
            case "string":
                return self._from_strings()
            case "integer":
                return self._from_numbers(parse=False)
            case "boolean":
                return Labels(self._given or ("false", "true"), "boolean")
            case "list" | "list of names":
                return self._from_lists()
        self._refuse_fractions()
        if self._lists.empty and self._given is not None:
            return Labels(self._given, "list", members=True)
        raise self._no_label()

    def _from_strings(self) -> Labels:
        if self._strings_only:
            values = {name: parsed(name) for name in self._strings}
            if all(isinstance(value, bool) for value in values.values()):
                return Labels(self._given or ("false", "true"), "boolean", parse=True)
            if not any(isinstance(value, bool | str) for value in values.values()):
                written_as_given = set(self._given or ())
                for name, value in values.items():
                    if name not in written_as_given:
                        self._numbers[int(value)] += self._strings[name]
                return self._from_numbers(parse=True)
            if all(map(_DECIMAL.fullmatch, self._strings)):
                self._refuse_fractions()
        if self._given is not None:
            return Labels(self._given, "string")
        self._warn_of_odd_names()
        return Labels(self._occurring(dict(sorted(self._strings.items()))), "string")

    def _warn_of_odd_names(self) -> None:
        """Warn of names that pandas writes for something else: for a missing value, and for a list."""
        missing = [name for name in self._strings if name.lower() in _MISSING]
        if missing:
            rows = sum(self._strings[name] for name in missing)
            _LOG.warning(
                f"{self._where} has the class {listed(missing)} ({counted(rows, 'row')}). If that means that a label "
                "is missing, leave it empty: rows without a label are left out."
            )
        lists = [name for name in self._strings if name.startswith("[") and name.endswith("]")]
        if lists:
            _LOG.warning(
                f"{self._where} holds lists written as text, such as {shown(lists[0])}. Each is read as the name of "
                "one class. Where texts have several labels, write JSON Lines or Parquet, which keep lists."
            )

    def _from_numbers(self, *, parse: bool) -> Labels:
        self._refuse_fractions()
        numbers = sorted(self._numbers)
        if self._given is not None:
            if not numbered(self._given):
                self._require_ids(self._given)
            return Labels(self._given, "integer", parse=parse)
        classes = [number for number in numbers if number != -1]
        if not classes:
            raise self._no_label()
        if min(classes) < 0 or (self._numbers[-1] and len(classes) == 1):
            classes = numbers  # -1 is a class beside -2, and where there would be one class without it
        names = self._occurring({str(number): self._numbers[number] for number in classes})
        if -1 in numbers and -1 not in classes:
            # Data sets write -1 for "no label"; in a scale from -1 to 1 it is a class.
            _LOG.warning(
                f"{self._where} has -1 in {self._numbers[-1]:,} of {self._rows:,} rows. It counts as no label, so "
                f"these rows are left out. If it is a class, say so: --labels={_option(numbers)}."
            )
        elif classes != list(range(len(classes))):
            _LOG.warning(
                f"{self._where} does not count from 0; its classes are the numbers that occur: {listed(names)}. If "
                "there are others, name all of them with --labels; rows with numbers that it lacks are left out."
            )
        return Labels(names, "integer", parse=parse)

    def _from_lists(self) -> Labels:
        members = self._lists.members(self._given)
        if members is None:
            return Labels(self._given or tuple(map(str, range(self._lists.width))), "list")
        if not members:
            raise self._no_label()
        if self._given is None and "list" in self._first:
            _LOG.warning(
                f"{self._where} holds lists of different lengths, or of numbers above 1. They are read as the numbers "
                f"of a text's classes, which are {listed(list(members))}. As weights, they need one for every class."
            )
        return Labels(self._given or self._occurring(members), "list", members=True)

    def _occurring(self, classes: Mapping[str, int]) -> tuple[str, ...]:
        """Return the names of the classes that occur. classes: rows of each."""
        names = tuple(classes)
        if not self._many and len(names) > max(_FEW_CLASSES, self._rows / _ROWS_PER_CLASS):
            raise self._too_many(f"{len(names):,} classes in {self._rows:,} rows ({listed(names, 3)})")
        groups = lookalikes(names)
        if groups:
            pairs = [
                " and ".join(f"{shown(name)!r} ({classes[name]:,} rows)" for name in group)
                for group in groups
            ]
            _LOG.warning(
                f"{self._where} has classes that differ only in white space, case or Unicode form: "
                f"{'; '.join(pairs[:3])}{'; ...' if len(pairs) > 3 else ''}. Each is a class of its own. If that is "
                "not meant, give them one name, or name the right classes with --labels; rows of others are left out."
            )
        return names

    def _require_ids(self, given: tuple[str, ...]) -> None:
        """Refuse integers that seem to count the given names otherwise than from 0; their classes would be shifted."""
        found, ids = set(self._numbers), range(len(given))
        if found <= set(ids):
            return
        remedy = ", or remove the rows where -1 means no label" if -1 in found else ""
        shifted = len(found) == len(given) or (0 not in found and max(found) >= len(given))
        if shifted:
            raise CorpusError(
                f"{self._where} holds {listed([str(number) for number in sorted(found)])}, but the given names "
                f"({listed(given)}) are for 0 to {ids[-1]}. Write the names into the column, leave --labels out "
                f"and keep the numbers as names{remedy}."
            )

    def _refuse_fractions(self) -> None:
        if self._fraction is not None and self._given is None:
            row, value = self._fraction
            raise CorpusError(
                f"{self._where} holds numbers with fractions, such as {shown(value)} in row {row}: a regression "
                "target. amix trains classifiers. Divide the numbers into classes and write the names of these, "
                "or name another column with --label-column."
            )

    def _no_label(self) -> CorpusError:
        row, reason = self._unusable or (0, "no label (-1)")
        why = f" (row {row}: {reason})" if self._unusable or self._numbers else ""
        return CorpusError(
            f"{self._where} holds no label that can be used{why}. "
            f"Name the right one with --label-column. {UNLABELLED}"
        )

    def _too_many(self, classes: str) -> CorpusError:
        return CorpusError(
            f"{self._where} has {classes}: it looks like an id column, running text or a number to predict. Name the "
            "right one with --label-column. If these are the classes, say so with --many-classes."
        )


def _is_fraction(text: str) -> bool:
    return bool(_DECIMAL.fullmatch(text)) and math.isfinite(float(text)) and not float(text).is_integer()


def _option(numbers: list[int]) -> str:
    """Return numbers as a value of --labels, cut short."""
    return ",".join(map(str, numbers[:10])) + ("" if len(numbers) <= 10 else ",...")
