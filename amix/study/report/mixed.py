"""What a run mixed, in a sentence: pages that are called by a mixing method may be about plain fine-tuning."""

from dataclasses import dataclass

from amix.study.report.page import percent
from amix.study.runs import RunRecord
from amix.train.options.auto import AUTO, EVEN, KNOWN, LEARNT, START
from amix.train.options.dev import Folds, parse_dev
from amix.train.run.log import HeadLine, LossLine, ScoreLine, ShareLine

_PLAIN = "so this is plain fine-tuning"


@dataclass(frozen=True, kw_only=True)
class Mixing:
    """What a run mixed.

    sentence: for readers of its page.  is_missing: a method that mixes was named, and the model saw nothing mixed.
    by_epoch: for each epoch the share of rows to be mixed, where `p auto` decided it; else empty.
    kept: the epoch that the model is from, where it was one of several and sets were evaluated.
    """

    sentence: str
    is_missing: bool = False
    by_epoch: tuple[float, ...] = ()
    kept: int | None = None


def judged_on(run: RunRecord) -> str:
    """Return what the epochs of a run were judged on."""
    is_crossed = isinstance(parse_dev(run.inputs.dev), Folds)
    return "training texts, each by a model that was trained without it" if is_crossed else "development set"


def mixing_of(run: RunRecord) -> Mixing:
    """Return what a run mixed, from its options and its log."""
    config = run.config.settled(has_dev=parse_dev(run.inputs.dev) is not None)
    scores = [line for line in run.log if isinstance(line, ScoreLine)]
    dev = [line for line in scores if line.kind == "dev"]
    kept = next((line.epoch for line in scores if line.kind == "eval"), None) if dev else None
    if config.method == "none":
        return Mixing(sentence=f"Nothing was mixed: the method is none, {_PLAIN}.", kept=kept)
    idle = (
        "p" if config.p == 0 else "strength" if "strength" in config.uses and config.strength == 0 else None
    )
    if idle is not None:
        return Mixing(sentence=f"Nothing was mixed, {_PLAIN}: {idle} is 0.", is_missing=True, kept=kept)
    if config.p == AUTO:
        # A line of the development set holds the p of the epoch that follows it.
        by_epoch = (START, *(line.metrics["p"] for line in dev[:-1] if "p" in line.metrics))
        sentence, is_missing = _followed(run, by_epoch, kept)
        return Mixing(sentence=sentence + _unpaired(run), is_missing=is_missing, by_epoch=by_epoch, kept=kept)
    if config.p == LEARNT:
        began = next((line.epoch for line in run.log if isinstance(line, ShareLine)), None)
        last = max((line.epoch for line in run.log if isinstance(line, LossLine)), default=0)
        by_epoch = tuple(0.0 if began is None or each <= began else EVEN for each in range(1, last + 1))
        sentence, is_missing = _once_learnt(run, by_epoch, kept)
        return Mixing(sentence=sentence + _unpaired(run), is_missing=is_missing, by_epoch=by_epoch, kept=kept)
    p = float(config.p or 0.0)
    how = "Every row was mixed" if p == 1 else f"Each row was mixed with a probability of {percent(p)}"
    return Mixing(sentence=f"{how} by {config.method}{_head(run)}.{_unpaired(run)}", kept=kept)


def _once_learnt(run: RunRecord, by_epoch: tuple[float, ...], kept: int | None) -> tuple[str, bool]:
    """Return what `p learnt` mixed in a sentence, and whether it was nothing."""
    if not any(by_epoch[:kept]):
        return (
            f"The model saw nothing mixed, {_PLAIN}. p learnt waits until the mean training loss of an epoch is below "
            f"{KNOWN:g}, which it was not before this model's last one. More --epochs lower it; --p {EVEN:g} mixes "
            "half of the rows in any case."
        ), True
    begins = next(number for number, share in enumerate(by_epoch, 1) if share)
    mixed = f"Each row was mixed with a probability of {percent(EVEN)} by {run.config.method}{_head(run)}"
    if begins == 1:
        return f"{mixed}.", False
    when = f"when the mean training loss had fallen below {KNOWN:g} (p learnt)"
    return f"{mixed} from epoch {begins} on, {when}.", False


def _followed(run: RunRecord, by_epoch: tuple[float, ...], kept: int | None) -> tuple[str, bool]:
    """Return what `p auto` mixed in a sentence, and whether it was nothing."""
    if not any(by_epoch):
        return (
            f"Nothing was mixed, {_PLAIN}. p auto mixes once the model is over-confident on the {judged_on(run)}, "
            "which it was not after any epoch that could still change the mixing. More --epochs make a model more "
            f"confident; --p {EVEN:g} mixes half of the rows in any case."
        ), True
    if not any(by_epoch[:kept]):
        begins = next(number for number, share in enumerate(by_epoch, 1) if share)
        return (
            f"The model that was kept saw nothing mixed, {_PLAIN}: it is from epoch {kept}, and p auto began to mix in "
            f"epoch {begins}. --p {EVEN:g} mixes half of the rows from the start."
        ), True
    until = "it" if kept is None else f"up to epoch {kept}, whose model was kept, it"
    return (
        f"Rows were mixed by {run.config.method}{_head(run)}. Their share followed the confidence on the "
        f"{judged_on(run)} (p auto); {until} was at most {percent(max(by_epoch[:kept]))}."
    ), False


def _head(run: RunRecord) -> str:
    if "head" not in run.config.uses:
        return ""
    chosen = next((line.head for line in run.log if isinstance(line, HeadLine)), run.config.head)
    dealt = (
        ", its relevance dealt out to the words at random"
        if run.config.relevance_source == "permuted"
        else ""
    )
    return f" with head {chosen}{dealt}"


def _unpaired(run: RunRecord) -> str:
    count = sum(line.unpaired for line in run.log if isinstance(line, LossLine))
    return f" {count:,} times a row found no partner and stayed as it was." if count else ""
