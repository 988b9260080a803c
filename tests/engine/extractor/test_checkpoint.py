"""Checkpoints whose weights do not fit: loaded whole, or refused; never drawn at random."""

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification

from amix.engine.base.errors import ExportError, TrainError
from amix.engine.extractor import checkpoint
from amix.engine.extractor.checkpoint import misfit_of
from amix.engine.extractor.encoder import load_encoder
from amix.loaders.shards.manifest import Manifest
from amix.train.model.classifier import load_classifier
from tests.checkpoints import Weights, behind, changed

PREFIXES = ("_orig_mod.", "module.", "encoder.", "model.", "module._orig_mod.", "0.auto_model.")


@pytest.fixture(autouse=True)
def noted_again() -> None:
    """A note is given once in a process for each model."""
    checkpoint._note_prefix.cache_clear()
    checkpoint._note_code.cache_clear()


@pytest.fixture(scope="module")
def manifest(reviews: Path) -> Manifest:
    return Manifest.read(reviews)


@pytest.fixture(scope="module")
def headed(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier of two classes, as training leaves it."""
    folder = shutil.copytree(tiny_bert, tmp_path_factory.mktemp("headed") / "model")
    torch.manual_seed(1)
    AutoModelForSequenceClassification.from_pretrained(tiny_bert, num_labels=2).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_prefix_before_all_names_is_left_out_with_a_note(
    prefix: str, tiny_bert: Path, tmp_path: Path, manifest: Manifest, caplog: pytest.LogCaptureFixture
) -> None:
    model = str(changed(tiny_bert, tmp_path / "wrapped", behind(prefix)))
    assert load_encoder(model).weights_sha256 == load_encoder(str(tiny_bert)).weights_sha256
    assert f"{model}: the names of its weights begin with '{prefix}'" in caplog.text

    name = "embeddings.word_embeddings.weight"
    classifier = load_classifier(model, ("bad", "good"), manifest)
    wanted = load_file(tiny_bert / "model.safetensors")[name]
    assert torch.equal(classifier.state_dict()[f"bert.{name}"], wanted)
    assert not classifier.training
    assert [record.levelno for record in caplog.records] == [logging.WARNING]  # one note for both


@pytest.mark.parametrize("prefix", ["_orig_mod.", "model."])
def test_a_head_behind_the_same_prefix_is_kept(
    prefix: str, headed: Path, tmp_path: Path, manifest: Manifest
) -> None:
    model = str(changed(headed, tmp_path / "wrapped", behind(prefix)))
    classifier = load_classifier(model, ("bad", "good"), manifest)
    for name, value in load_file(headed / "model.safetensors").items():
        assert torch.equal(classifier.state_dict()[name], value), name
    assert load_encoder(model).weights_sha256 == load_encoder(str(headed)).weights_sha256


def test_weights_in_several_files_are_put_together(tiny_bert: Path, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    model = shutil.copytree(tiny_bert, tmp_path / "parts")
    weights = behind("module.")(load_file(model / "model.safetensors"))
    (model / "model.safetensors").unlink()
    names = sorted(weights)
    files = {name: f"model-0000{1 + number % 2}-of-00002.safetensors" for number, name in enumerate(names)}
    for file in set(files.values()):
        save_file(
            {name: weights[name] for name in names if files[name] == file},
            model / file,
            metadata={"format": "pt"},
        )
    (model / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": files}))
    assert load_encoder(str(model)).weights_sha256 == load_encoder(str(tiny_bert)).weights_sha256


def test_a_pickled_checkpoint_behind_a_prefix_is_read(tiny_bert: Path, tmp_path: Path) -> None:
    model = shutil.copytree(tiny_bert, tmp_path / "pickled")
    weights = behind("module.")(load_file(model / "model.safetensors"))
    (model / "model.safetensors").unlink()
    torch.save(weights, model / "pytorch_model.bin")
    assert load_encoder(str(model)).weights_sha256 == load_encoder(str(tiny_bert)).weights_sha256


def without_layer_1(weights: Weights) -> Weights:
    return {name: value for name, value in weights.items() if "layer.1." not in name}


def as_stored(weights: Weights) -> Weights:
    return weights


REFUSED: dict[str, tuple[Callable[[Weights], Weights], dict[str, object], str]] = {
    "another width": (
        dict,
        {"hidden_size": 32},
        r"has \d+ of the encoder's weights in another shape than config",
    ),
    "more words": (
        dict,
        {"vocab_size": 5000},
        r"has 1 of .*\((bert\.)?embeddings\.word_embeddings\.weight\)",
    ),
    "more layers": (as_stored, {"num_hidden_layers": 3}, r"lacks 16 of the encoder's weights .*layer\.2\."),
    "a layer less": (without_layer_1, {}, r"lacks 16 of the encoder's weights .*layer\.1\."),
    "two encoders": (
        behind("student.", "teacher."),
        {},
        r"It holds 2 encoders \(student\., teacher\.\)\. Save one of them by itself",
    ),
    "other names": (
        lambda weights: {f"x{number}": value for number, value in enumerate(weights.values())},
        {},
        r"lacks \d+ of .* It holds 39 weights of other names \(x0, x1, x10, \.\.\.\)\. Use a complete",
    ),
    "a prefix, and a layer less": (
        lambda weights: behind("module.")(without_layer_1(weights)),
        {},
        r"lacks \d+ of .* It holds 23 weights of other names \(module\.",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused_alike_for_export_and_training(
    case: str, tiny_bert: Path, tmp_path: Path, manifest: Manifest
) -> None:
    change, config, message = REFUSED[case]
    model = str(changed(tiny_bert, tmp_path / "model", change, **config))
    with pytest.raises(ExportError, match=f"{model}: the checkpoint .*{message}"):
        load_encoder(model)
    with pytest.raises(TrainError, match=f"{model}: the checkpoint .*{message}"):
        load_classifier(model, ("bad", "good"), manifest)


def test_a_head_and_a_pooler_may_be_missing(headed: Path, tmp_path: Path, manifest: Manifest) -> None:
    model = changed(
        headed,
        tmp_path / "bare",
        lambda weights: {
            name: value
            for name, value in weights.items()
            if "pooler" not in name and not name.startswith("classifier")
        },
    )
    classifier = load_classifier(str(model), ("bad", "good"), manifest)
    assert classifier.config.num_labels == 2
    # A head for other classes is replaced.
    assert load_classifier(str(headed), ("a", "b", "c"), manifest).config.num_labels == 3


def test_a_loaded_model_is_compared_with_the_checkpoint_that_it_names(
    tiny_bert: Path, tmp_path: Path
) -> None:
    wrapped = changed(tiny_bert, tmp_path / "wrapped", behind("_orig_mod."))
    load = AutoModelForSequenceClassification.from_pretrained
    misfit = misfit_of(load(wrapped))
    assert misfit
    assert misfit.prefixes() == ["_orig_mod."]
    assert not misfit_of(load(tiny_bert))

    grown = load(tiny_bert)
    grown.resize_token_embeddings(grown.config.vocab_size + 1)
    assert not misfit_of(grown)

    config = grown.config.__class__(**{**grown.config.to_dict(), "_name_or_path": ""})
    assert misfit_of(AutoModelForSequenceClassification.from_config(config)) is None  # from no checkpoint
    shutil.rmtree(wrapped)
    assert misfit_of(load(tiny_bert)) is not None
    gone = load(tiny_bert)
    gone.config.name_or_path = gone.name_or_path = str(wrapped)
    assert misfit_of(gone) is None
