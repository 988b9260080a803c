"""Options: ranges, the strict YAML file, precedence, and the way there and back."""

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args

import pytest

from amix.engine.base.errors import ConfigError, HeadError, UsageError
from amix.loaders.stream import order as loader_order
from amix.train.options.config import TrainConfig, rules
from amix.train.options.file import Inputs, read_config, resolve, write_config
from amix.train.options.methods import METHOD_OPTIONS, PRESETS, USES, Method


def yaml_file(folder: Path, text: str) -> Path:
    path = folder / "run.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("p", 1.5, "between 0 and 1"),
        ("p", float("nan"), "between 0 and 1"),
        ("clean_weight", -0.1, "between 0 and 1"),
        ("strength", 2, "between 0 and 1"),
        ("epochs", 0, "at least 1"),
        ("epochs", 1.5, "a whole number"),
        ("epochs", True, "a whole number"),
        ("batch_size", 0, "at least 1"),
        ("lr", 0, "above 0, at most 1"),
        ("alpha", 0, "above 0"),
        ("seed", -1, "between 0 and"),
        ("method", "mixup", "none, wordmixup, sentencemixup, tmix, ssmix, attentionmix"),
        ("level", "hidden", "embedding or hidden:K"),
        ("partner", "nearest", "random, other-class, same-class, similar-length"),
        ("relevance_source", "live", "cache, online, permuted"),
        ("max_lambda", 1, "true or false"),
        ("span_share", 1.5, "between 0 and 1"),
        ("pad", "cut", "keep, zero"),
        ("mixed_precision", "fp8", "no, bf16, fp16"),
        ("checkpoint_steps", 0, "at least 1"),
        ("label_weight", "mean", "ratio, mass"),
        ("lr", None, "a number"),
    ],
)
def test_a_wrong_value_names_option_and_range(name: str, value: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{name} is .*{says}") as caught:
        TrainConfig(**{name: value})
    assert isinstance(caught.value, UsageError)


def test_a_head_spec_is_checked_where_it_is_used() -> None:
    with pytest.raises(HeadError, match="not understood"):
        TrainConfig(head="eight")
    assert TrainConfig(head="eight", method="none").head == "eight"


def test_every_option_has_a_rule_that_its_default_keeps() -> None:
    config = TrainConfig()
    assert set(rules()) == set(config.as_dict())
    assert set(rules()) >= METHOD_OPTIONS
    assert (config.method, config.head, config.epochs, config.batch_size, config.lr, config.seed) == (
        "attentionmix", "0.mean", 3, 32, 2e-5, 0,
    )  # fmt: skip


def test_flags_win_over_the_file_and_the_file_over_defaults(tmp_path: Path) -> None:
    options, inputs = read_config(yaml_file(tmp_path, "lr: 2e-4\nepochs: 7\nhead: 0.8\nmodel: some/model\n"))
    config = resolve(options, {"epochs": 2, "lr": None, "p": 0.0})
    assert (config.lr, config.epochs, config.head, config.p) == (2e-4, 2, "0.8", 0.0)
    assert config.batch_size == TrainConfig().batch_size
    assert inputs == Inputs(model="some/model")


@pytest.mark.parametrize("method", get_args(Method))
def test_how_often_to_mix_is_settled_by_method_and_development_set(method: Method) -> None:
    is_guided = method == "attentionmix"
    assert TrainConfig(method=method).settled(has_dev=True).p == ("auto" if is_guided else 1.0)
    assert TrainConfig(method=method).settled(has_dev=False).p == ("learnt" if is_guided else 1.0)
    chosen: tuple[float | Literal["auto"], ...] = (0.0, 0.3, "auto")
    for p in chosen:
        given = TrainConfig(method=method, p=p)
        used = given if method != "none" else replace(given, p=1.0)
        assert given.settled(has_dev=True) == given.settled(has_dev=False) == used


def test_a_preset_wins_over_the_file_and_single_options_over_it(tmp_path: Path) -> None:
    file, _ = read_config(yaml_file(tmp_path, "p: 0.3\nstrength: 0.2\nlr: 2e-4\n"))
    config = resolve(file, {"preset": "paper", "strength": 0.7, "p": None})
    assert (config.p, config.strength, config.lr) == (1.0, 0.7, 2e-4)
    # In a file it stands beneath all other lines, wherever it is.
    for text in ("preset: paper\np: 0.3\n", "p: 0.3\npreset: paper\n"):
        file, _ = read_config(yaml_file(tmp_path, text))
        assert resolve(file, {}) == resolve({}, {"preset": "paper", "p": 0.3})


def test_what_a_method_does_not_use_is_not_checked() -> None:
    assert TrainConfig(method="ssmix", head="eight").head == "eight"
    with pytest.raises(HeadError, match="not understood"):
        TrainConfig(method="attentionmix", head="eight")


def test_the_papers_preset_undoes_every_option_of_attentionmix_but_where_relevance_is_from() -> None:
    assert set(PRESETS["paper"]) == USES["attentionmix"] - {"head", "relevance_source"}
    assert TrainConfig(**PRESETS["paper"]) == TrainConfig(p=1.0)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("preset: papers", "run.yaml: preset is 'papers'; it must be one of: paper"),
        ("preset: [paper]", "run.yaml: preset is ['paper']; it must be one of: paper"),
        ("alhpa: 1", "run.yaml: unknown key 'alhpa'. Did you mean 'alpha'?"),
        ("batch-size: 8", "Did you mean 'batch_size'?"),
        ("zzz: 1", "The keys are: method, head"),
        ("lr: fast", "run.yaml: lr is 'fast'; it must be a number above 0"),
        ("p: 2", "run.yaml: p is 2.0; it must be auto, learnt, or a number between 0 and 1"),
        ("lr: 1e-5\nlr: 1e-4", "key 'lr' is there twice"),
        ("lr: [1", "not valid YAML"),
        ("- lr", "holds a list"),
        ("eval: shards", "run.yaml: eval must be"),
        ("shards: 3", "run.yaml: shards is 3"),
    ],
)
def test_a_bad_file_is_refused_by_name(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_config(yaml_file(tmp_path, text))
    assert says in str(caught.value)


def test_a_missing_or_empty_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_config(tmp_path / "none.yaml")
    assert read_config(yaml_file(tmp_path, "# nothing yet\n")) == ({}, Inputs())


def test_yaml_runs_no_code(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not valid YAML"):
        read_config(yaml_file(tmp_path, "lr: !!python/object/apply:os.getcwd []"))


def test_what_is_written_reads_back(tmp_path: Path) -> None:
    config = TrainConfig(lr=3e-5, head="0.8", samples=200, method="wordmixup", checkpoint_steps=4)
    inputs = Inputs(shards="shards/mr", model="m", evals={"test": "shards/test"})
    write_config(tmp_path / "config.yaml", config, inputs)
    options, read = read_config(tmp_path / "config.yaml")
    assert resolve(options, {}) == config
    assert read == inputs


@pytest.mark.parametrize("layers", ["", "7,7", "7;9", "-1", "seven", "auto,3"])
def test_layers_are_numbers_or_auto(layers: str) -> None:
    with pytest.raises(ConfigError, match=r"^layers is"):
        TrainConfig(method="tmix", layers=layers)


def test_auto_layers_are_the_sources_twelfths_of_the_model() -> None:
    config = TrainConfig(method="tmix")
    assert config.layer_numbers(12, 12) == (7, 9, 12)
    assert config.layer_numbers(6, 6) == (4, 6)
    assert config.layer_numbers(24, 24) == (14, 18, 24)
    assert config.layer_numbers(2, 2) == (1, 2)
    assert TrainConfig(method="tmix", layers="1, 3").layer_numbers(6, 6) == (1, 3)


def test_auto_layers_end_where_the_model_can_be_mixed() -> None:
    config = TrainConfig(method="tmix")
    assert config.layer_numbers(12, 11) == (7, 9, 11)
    assert config.layer_numbers(1, 0) == (0,)
    asked = TrainConfig(method="tmix", layers="12")
    assert asked.layer_numbers(12, 11) == (12,)  # the run will refuse it


def test_the_kind_and_choices_of_an_option_come_from_its_type() -> None:
    known = rules()
    assert known["method"].choices == get_args(Method) == tuple(USES)
    assert (known["p"].kind, known["p"].words, known["p"].optional) == (float, ("auto", "learnt"), True)
    assert (known["alpha"].kind, known["alpha"].words, known["alpha"].optional) == (float, (), True)
    assert (known["max_lambda"].kind, known["device"].kind) == (bool, str)
    assert known["shuffle"].choices == get_args(loader_order.Shuffle)
    assert all(rule.text.endswith(".") for rule in known.values())
