"""What a comparison found, in words, from numbers made up for it."""

from amix.study.compare.comparison import Row
from amix.study.compare.statistics import Difference
from amix.study.compare.tables import markdown, notes
from amix.study.compare.verdict import in_short, verdict


def row(
    method: str,
    accuracy: tuple[float, float, float] | None = None,  # mean, low and high of the difference
    nll: tuple[float, float, float] = (0.0, -0.1, 0.1),
    *,
    p: float | None = None,
    seeds: int = 10,
    corpus: str = "mr",
    largest_p: float | None = None,
    changed: int | None = None,
) -> Row:
    given = {} if accuracy is None else {"accuracy": accuracy, "nll": nll, "ece": nll, "aurc": nll}
    return Row(
        corpus=corpus,
        evaluated="test",
        samples=100,
        method=method,
        seeds=tuple(range(seeds)),
        values={"accuracy": [0.8] * seeds, "nll": [0.5] * seeds},
        spent={name: [1.0] * seeds for name in ("steps", "tokens", "seconds")},
        largest_p=[largest_p] * seeds,
        changed_labels=[changed] * seeds,
        differences={
            metric: Difference(mean=mean, low=low, high=high, p=p, seeds=seeds)
            for metric, (mean, low, high) in given.items()
        },
        corrected={} if p is None else dict.fromkeys(given, p),
    )


UP, DOWN, LEVEL = (0.02, 0.01, 0.03), (-0.02, -0.03, -0.01), (0.0, -0.01, 0.02)


def test_a_verdict_needs_interval_and_p_and_knows_what_is_better() -> None:
    for difference, p, accuracy, nll in (
        (UP, 0.01, "clearly better", "clearly worse"),
        (DOWN, 0.01, "clearly worse", "clearly better"),
        (UP, 0.2, "perhaps better", "perhaps worse"),
        (UP, None, "perhaps better", "perhaps worse"),
        (LEVEL, 0.01, "no clear difference", "no clear difference"),
    ):
        found = row("tmix", difference, difference, p=p)
        assert (verdict(found, "accuracy"), verdict(found, "nll")) == (accuracy, nll)


def test_one_setting_is_summed_up_with_its_numbers() -> None:
    rows = [
        row("none"),
        row("tmix", UP, LEVEL, p=0.01),
        row("ssmix", DOWN, DOWN),
        row("wordmixup", LEVEL, DOWN, p=0.01),
    ]
    assert in_short(rows) == (
        "Compared with plain fine-tuning (none), accuracy is clearly better with tmix (+0.020), perhaps worse with "
        "ssmix (-0.020), and not clearly different with wordmixup. NLL, which is lower where a model is less often "
        "sure and wrong, is clearly better with wordmixup (-0.020), perhaps better with ssmix (-0.020), and not "
        "clearly different with tmix."
    )
    same = [row("none"), *(row(f"tmix {number}", LEVEL, LEVEL) for number in range(5))]
    assert "accuracy is not clearly different with any of 5 methods. NLL" in in_short(same)
    assert "not clearly different with 4 other methods." in in_short([*same[:-1], row("ssmix", UP, UP)])


def test_several_settings_are_counted() -> None:
    rows = [
        row(method, difference, DOWN, p=0.01, corpus=corpus)
        for corpus in ("mr", "trec")
        for method, difference in (("tmix", UP), ("ssmix", LEVEL))
    ]
    assert in_short(rows) == (
        "In 4 comparisons with plain fine-tuning (none), accuracy is clearly better in 2 (tmix), and not clearly "
        "different in 2. NLL, which is lower where a model is less often sure and wrong, is clearly better in 4 (tmix "
        "and ssmix)."
    )


def test_without_a_baseline_nothing_is_claimed() -> None:
    assert in_short([row("tmix"), row("ssmix")]).startswith(
        "No method shares a seed with plain fine-tuning (none),"
    )
    assert in_short([row("none")]).startswith(
        "Only plain fine-tuning (none) was run, so nothing is compared."
    )


def test_a_table_begins_with_the_summary_and_ends_with_what_sets_rows_apart() -> None:
    rows = [row("none"), row("tmix", UP, seeds=5), row("attentionmix", LEVEL, largest_p=0.0, p=1.0)]
    lines = markdown(rows)
    assert lines[0] == in_short(rows)
    assert "accuracy (higher is better) | NLL (lower is better)" in "\n".join(lines)
    assert notes(rows) == [
        "attentionmix: p auto mixed nothing in 10 of 10 runs, which are plain fine-tuning.",
        "The methods have 10 or 5 seeds. So compare them by their differences to none, which use only seeds that both "
        "have, and not by the means.",
    ]
    assert lines[-1] == notes(rows)[-1]
    assert notes([row("none"), row("tmix", UP)]) == []
    assert notes([row("none", changed=7)]) == [
        "Training labels that were wrong on purpose, mean over runs: none 7.0."
    ]
