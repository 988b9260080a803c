"""A corpus to a classifier and a page about it: export, precompute, train, report, each as its own command does it."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from amix.engine.base.errors import CorpusError, TrainError
from amix.engine.base.once import said_once
from amix.engine.base.place import make_folder, require_writable
from amix.engine.base.processes import locked
from amix.engine.base.publish import sweep, write_atomic
from amix.engine.base.stopping import signals_end
from amix.engine.base.words import counted
from amix.loaders.corpus import Corpus, open_corpus
from amix.loaders.precompute.run import precompute as precompute_quietly
from amix.loaders.shards.manifest import Manifest
from amix.loaders.shards.recipe import sources_of
from amix.study.fit.budget import budget_text
from amix.study.fit.choice import CHOICE
from amix.study.fit.choosing import choose
from amix.study.fit.commands import by_hand
from amix.study.fit.record import FitRecord
from amix.study.fit.result import FitResult
from amix.study.fit.settings import FitSettings
from amix.study.fit.stages import Precompute, extractor_of, shards_of, trained
from amix.study.report.reports import report
from amix.train.options.auto import note_before
from amix.train.options.config import TrainConfig
from amix.train.options.dev import SAME_TEXTS, parse_dev
from amix.train.run.files import MODEL
from amix.train.run.result import EpochSummary

PAGE = "report.html"

_LOG = logging.getLogger(__name__)


@said_once()
def fit(
    settings: FitSettings,
    out: Path,
    *,
    baseline: bool = False,
    precompute: Precompute = precompute_quietly,
    on_stage: Callable[[str], None] = lambda stage: None,
    on_epoch: Callable[[EpochSummary], None] = lambda summary: None,
) -> FitResult:
    """Fit a classifier to a corpus, and return what was found.

    out: absent or empty, or the folder of a fit with the same settings, which goes on where it was stopped. It gets
        `extractor`, `shards/train` (`dev`, `test`), `run`, `baseline` and the page, and what is finished is kept.
    baseline: also train without mixing.  precompute: how corpora become shards.
    on_stage: called with a sentence before each stage.  on_epoch: after each epoch of `run` and `baseline`.
    Everything that can be is checked before the first stage. Raises AmixError.
    """
    require_writable(out)
    record = FitRecord.of(settings, _opened(settings))
    record.require_same(out)
    stage = _Stages(
        on_stage, ["export", "precompute", *(["choose"] if settings.budget else []), "train", "report"]
    )
    make_folder(out)
    with locked(out, "fitting", TrainError), signals_end(lambda name: goes_on(out, name)):
        sweep(out)
        if (changed := record.write(out)) is not None:
            on_stage(changed)
        stage.begin("export", f"the attention of layer 0 of {settings.model}")
        extractor = extractor_of(settings, out / "extractor")

        stage.begin("precompute", ", ".join(settings.names().values()))
        if (unread := settings.unread()) is not None:
            on_stage(unread)
        texts = shards_of(settings, out / "shards", extractor, precompute)

        choice = None
        if settings.budget is not None:
            stage.begin("choose", f"what helps this data, in {budget_text(settings.budget)}")
            shards, config = out / "shards" / "train", settings.config(texts)
            choice = choose(shards, settings.model, config, settings.budget, out / CHOICE, on_stage)
            on_stage(choice.sentence)
            settings = settings.chosen(choice.method, choice.p)

        held_out = 0 if settings.held_out is None else round(settings.held_out.value * texts)
        configs = {"run": settings.config(texts)}
        if baseline and configs["run"].method != "none":
            configs["baseline"] = replace(configs["run"], method="none", p=None)
        p = configs["run"].settled(has_dev=parse_dev(settings.dev) is not None).p
        weights = Manifest.read(out / "shards" / "train").class_weights
        if (note := note_before(p, configs["run"].epochs, class_weights=weights)) is not None:
            on_stage(note)
        results = {}
        for name, config in configs.items():
            stage.begin("train", _in_words(config, texts, held_out))
            results[name] = trained(settings, out, name, config, record, on_epoch)
        if choice is not None:
            choice.write(out / "run" / CHOICE)

        stage.begin("report", str(page := out / PAGE))
        beside = out / "baseline" if "baseline" in configs else None
        write_atomic(page, report(out / "run", beside).encode())
    return FitResult(
        settings=settings,
        out=out,
        page=page,
        model=out / "run" / MODEL,
        configs=configs,
        results=results,
        texts=texts,
        held_out=held_out,
        commands=tuple(by_hand(settings, Path(f"{out}-by-hand"), configs)),
        choice=choice,
    )


@dataclass(frozen=True)
class _Stages:
    """Announces the stages by their number."""

    tell: Callable[[str], None]
    names: Sequence[str]

    def begin(self, name: str, about: str) -> None:
        self.tell(f"{self.names.index(name) + 1}/{len(self.names)} {name}: {about}")


def goes_on(out: Path, name: str) -> str:
    """Return the message about a fit that a signal of this name ended."""
    return f"{out}: ended by {name}. What is finished is kept: the same command goes on there."


def _opened(settings: FitSettings) -> dict[str, Corpus]:
    """Return the corpora by role, opened: a wrong column is found before the first stage."""
    opened: dict[str, Corpus] = {}
    for role, (source, options) in settings.corpora().items():
        names = opened["train"].label_names if opened else options.labels
        opened[role] = found = open_corpus(source, replace(options, labels=names))
        if role == "train" and not found.multi_label and found.label_names and len(found.label_names) < 2:
            raise CorpusError(
                f"{source}: has the one class {found.label_names[0]!r} in the column {options.label_column!r}, and a "
                "classifier needs two. Name the right column with --label-column."
            )
    if "dev" in opened and sources_of(opened["dev"].identity) <= sources_of(opened["train"].identity):
        _LOG.warning(SAME_TEXTS)
    return opened


def _in_words(config: TrainConfig, texts: int, held_out: int) -> str:
    """Return what is trained how long on what."""
    words = f"{config.method}, {counted(config.epochs, 'epoch')} of {texts - held_out:,} texts"
    if held_out:
        others = counted(held_out, "other is", "others are")
        words += f"; {others} held out to select the epoch, the same share of each class"
    return words
