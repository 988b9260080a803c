"""Models as they are published: with code of their own, as Git LFS pointers, with sentencepiece, with odd settings."""

import ast
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from amix.engine.base.errors import DependencyError, ExportError, TrainError
from amix.engine.base.installing import install
from amix.engine.extractor import checkpoint, pretrained
from amix.engine.extractor.encoder import load_encoder
from amix.loaders.shards.manifest import Manifest
from amix.train.model.classifier import load_classifier, load_tokenizer
from tests.checkpoints import configure
from tests.cli.test_export import amix

ROOT = Path(__file__).parents[3]
CODE = """
import pathlib
(pathlib.Path(__file__).parent / "ran").touch()
from transformers import BertConfig, BertModel, BertTokenizerFast
class Config(BertConfig):
    model_type = "own-bert"
class Model(BertModel):
    config_class = Config
class Tokenizer(BertTokenizerFast):
    pass
"""


def with_code(tiny_bert: Path, folder: Path, **config: object) -> Path:
    shutil.copytree(tiny_bert, folder)
    (folder / "own.py").write_text(CODE)
    auto_map = {"AutoConfig": "own.Config", "AutoModel": "own.Model"}
    return configure(folder, auto_map=auto_map, **config)


def test_a_models_own_code_is_not_run_and_nobody_is_asked(
    tiny_bert: Path, reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = with_code(tiny_bert, tmp_path / "own", model_type="own-bert")
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("asks whether to run it"))
    said = "own: brings code of its own, which amix does not run. Take a model whose architecture and"
    with pytest.raises(ExportError, match=said):
        load_encoder(str(model))
    with pytest.raises(TrainError, match=said):
        load_classifier(str(model), ("bad", "good"), Manifest.read(reviews))
    done = amix("export", model, tmp_path / "out", "--json")
    assert done.exit_code == 1
    assert not done.stdout
    assert "Traceback" not in done.stderr
    assert not (model / "ran").exists()


def test_a_tokenizers_own_code_is_not_run(
    tiny_bert: Path, reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = shutil.copytree(tiny_bert, tmp_path / "own")
    (model / "own.py").write_text(CODE)
    (model / "tokenizer.json").unlink()
    settings = {"tokenizer_class": "Tokenizer", "auto_map": {"AutoTokenizer": ["own.Tokenizer", None]}}
    (model / "tokenizer_config.json").write_text(json.dumps(settings))
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("asks whether to run it"))
    with pytest.raises(TrainError, match="own: brings code of its own, which amix does not run"):
        load_tokenizer(str(model), Manifest.read(reviews))
    assert not (model / "ran").exists()


def test_built_in_code_stands_in_for_a_models_own_with_a_note(
    tiny_bert: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = with_code(tiny_bert, tmp_path / "own")  # of a type that transformers has
    checkpoint._note_code.cache_clear()
    assert load_encoder(str(model)).weights_sha256 == load_encoder(str(tiny_bert)).weights_sha256
    assert "which amix does not run. All its weights fit transformers' BertModel" in caplog.text
    configure(model, num_hidden_layers=3)
    with pytest.raises(
        ExportError, match=r"lacks 16 .* The model brings code of its own, which amix does not"
    ):
        load_encoder(str(model))
    assert not (model / "ran").exists()


def test_every_call_that_could_run_a_models_code_refuses_to() -> None:
    calls = []
    for path in (path for room in ("amix", "bench", "examples") for path in (ROOT / room).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "from_pretrained":
                calls.append(node)
                named = {word.arg: ast.unparse(word.value) for word in node.keywords}
                assert named.get("trust_remote_code") == "False", f"{path}:{node.lineno}"
    assert len(calls) > 3


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 90868376\n"


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json"])
def test_a_git_lfs_pointer_is_called_one(name: str, tiny_bert: Path, reviews: Path, tmp_path: Path) -> None:
    model = shutil.copytree(tiny_bert, tmp_path / "cloned")
    (model / name).write_bytes(POINTER)
    said = f"{model / name}: is a Git LFS pointer, .*'git lfs pull' in {model}"
    with pytest.raises(ExportError, match=said):
        load_encoder(str(model))
    manifest = Manifest.read(reviews)
    with pytest.raises(TrainError, match=said):
        load_tokenizer(str(model), manifest)
        load_classifier(str(model), ("bad", "good"), manifest)


def test_a_pointer_that_is_not_read_does_no_harm(tiny_bert: Path, tmp_path: Path) -> None:
    model = shutil.copytree(tiny_bert, tmp_path / "cloned")
    (model / "pytorch_model.bin").write_bytes(POINTER)
    assert load_encoder(str(model)).shape == (2, 2)


def sentencepiece_only(tiny_bert: Path, folder: Path) -> Path:
    """A BERT whose tokenizer is a file of sentencepiece, with a class that reads one."""
    shutil.copytree(tiny_bert, folder)
    for name in ("tokenizer.json", "vocab.txt"):
        (folder / name).unlink()
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "DebertaV2Tokenizer"}))
    return folder


def test_without_sentencepiece_the_extra_is_named(
    tiny_bert: Path, reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = sentencepiece_only(tiny_bert, tmp_path / "pieces")
    (model / "spm.model").write_bytes(b"\x0a\x0e\x0a\x05<unk>\x15\x00\x00\x00\x00\x18\x02")
    monkeypatch.setattr(pretrained, "find_spec", lambda name: None)
    monkeypatch.setattr("transformers.utils.import_utils.is_sentencepiece_available", lambda: False)
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    said = "pieces: its tokenizer is stored as a sentencepiece model only"
    for load in (load_encoder, lambda model: load_tokenizer(model, Manifest.read(reviews))):
        with pytest.raises(DependencyError, match=said) as raised:
            load(str(model))
        assert install("sentencepiece") in str(raised.value)


def test_a_sentencepiece_model_gives_the_ids_that_it_gave(tiny_bert: Path, tmp_path: Path) -> None:
    spm = pytest.importorskip("sentencepiece", reason="the extra [sentencepiece] is not installed")
    model = sentencepiece_only(tiny_bert, tmp_path / "pieces")
    (tmp_path / "corpus.txt").write_text("the film is warm and funny\nthe plot is slow and dull\n" * 20)
    special = {"pad": "[PAD]", "bos": "[CLS]", "eos": "[SEP]", "unk": "[UNK]"}
    spm.SentencePieceTrainer.train(
        input=str(tmp_path / "corpus.txt"),
        model_prefix=str(model / "spm"),
        vocab_size=40,
        hard_vocab_limit=False,
        minloglevel=2,
        **{f"{name}_id": number for number, name in enumerate(special)},
        **{f"{name}_piece": piece for name, piece in special.items()},
    )
    tokenizer = load_encoder(str(model)).tokenizer
    pieces = spm.SentencePieceProcessor(model_file=str(model / "spm.model"))
    for text in ("the film is dull", "warm, funny: quiet!", "  two  spaces"):
        assert tokenizer(text)["input_ids"] == [1, *pieces.encode(text), 2]


@pytest.mark.parametrize(
    "config",
    [
        {"return_dict": False},
        {"output_attentions": True},
        {"return_dict": False, "output_attentions": True, "output_hidden_states": True},
    ],
)
def test_a_model_that_was_saved_to_return_more_or_less_loads_alike(
    config: dict[str, object], tiny_bert: Path, reviews: Path, tmp_path: Path
) -> None:
    import torch

    model = configure(shutil.copytree(tiny_bert, tmp_path / "model"), **config)
    encoder = load_encoder(str(model))
    assert encoder.weights_sha256 == load_encoder(str(tiny_bert)).weights_sha256
    ids = torch.tensor([[2, 40, 3]])
    assert len(encoder.model(ids, output_attentions=True).attentions) == 2
    output: Any = load_classifier(str(model), ("bad", "good"), Manifest.read(reviews))(input_ids=ids)
    assert list(output) == ["logits"]
