"""What transformers loads, a Hub id or a folder: found, looked at, refused in a sentence. A model's code never runs."""

import contextlib
import json
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from amix.engine.base.errors import AmixError, DependencyError, UsageError
from amix.engine.base.installing import install
from amix.engine.base.lfs import is_pointer, pointer_refusal

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerBase

WEIGHTS = (  # in the order in which transformers looks for them
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
# What a folder can be asked to hold: a name for it, and patterns of which transformers reads the first that is met.
_PARTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "config": ("config.json", ("config.json",)),
    "weights": ("weights (model.safetensors)", ("model*.safetensors", "pytorch_model*.bin")),
    "tokenizer": (
        "a tokenizer (tokenizer.json)",
        ("tokenizer.json", "vocab.txt", "vocab.json", "*.model"),
    ),
}


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """Silence transformers' progress bars and load reports; amix checks what they report itself."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def folder_of(model: str) -> Path | None:
    """Return the folder that a model's name means, None for a Hub id.

    Raises UsageError for a name that can only be a folder and is not one.
    """
    folder = Path(model).expanduser()
    if folder.is_dir():
        return folder
    if folder.exists() or model.startswith((".", "/", "~")) or model.count("/") > 1:
        raise UsageError(f"{model}: no such folder. Give a folder with config.json and weights, or a Hub id.")
    return None


def source_of(model: str, error: type[AmixError], *parts: Literal["weights", "tokenizer"]) -> str:
    """Return what transformers loads for a model's name: its folder, or the Hub id.

    Raises UsageError as `folder_of` does, `error` for a folder without a configuration or one of `parts`.
    """
    folder = folder_of(model)
    if folder is None:
        return model
    for part in ("config", *parts):
        what, patterns = _PARTS[part]
        files = next((found for pattern in patterns if (found := sorted(folder.glob(pattern)))), [])
        if not files:
            raise error(
                f"{folder}: not an encoder, {what} is missing. Save model and tokenizer there with save_pretrained()."
            )
        for path in files:
            if is_pointer(path):
                raise error(pointer_refusal(path))
    return str(folder)


def hub_commit(model: str, revision: str | None = None) -> str:
    """Return the commit that a model's name means on the Hub, or in the local Hub cache when offline.

    transformers 5 no longer reports it. Raises what huggingface_hub raises.
    """
    from huggingface_hub import hf_hub_download

    return Path(hf_hub_download(model, "config.json", revision=revision)).parent.name


def open_config(source: str, **options: Any) -> "PretrainedConfig":  # noqa: ANN401  of from_pretrained
    """Return the configuration of a model. Raises what transformers raises."""
    from transformers import AutoConfig

    config: PretrainedConfig = AutoConfig.from_pretrained(source, trust_remote_code=False, **options)
    config.return_dict = True  # some were saved to return tuples, whose parts have no names
    return config


def open_pretrained_tokenizer(
    source: str, error: type[AmixError], revision: str | None = None
) -> "PreTrainedTokenizerBase":
    """Return the tokenizer of a model, the fast one where there is one.

    Raises DependencyError where it is a model of sentencepiece, which is not installed, `error` where it cannot be
    opened for another reason.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            source, revision=revision, use_fast=True, trust_remote_code=False
        )
    except Exception as problem:  # transformers raises many kinds
        raise _tokenizer_error(error, source, revision, problem) from problem
    return tokenizer


def load_error(error: type[AmixError], model: str, what: str, problem: Exception) -> AmixError:
    """Return the error for a model that transformers or the Hub refused, with the first line of their message.

    what: what failed, for example `cannot be loaded as an encoder`.
    """
    if isinstance(problem, AmixError):
        return problem
    if "trust_remote_code" in str(problem):  # the argument by which transformers would run it
        return _own_code(error, model)
    return error(
        f"{model}: {what} ({_first_line(problem)}). Check the Hub id and the network, or give a folder with "
        "config.json, weights and tokenizer. Code that comes with a model is never run."
    )


def local_folder(source: str, revision: str | None = None) -> Path:
    """Return where the files of a model are that transformers has loaded. Raises what huggingface_hub raises."""
    from huggingface_hub import hf_hub_download

    folder = Path(source)
    if folder.is_dir():
        return folder
    return Path(hf_hub_download(source, "config.json", revision=revision)).parent


def _tokenizer_error(
    error: type[AmixError], source: str, revision: str | None, problem: Exception
) -> AmixError:
    settings, has_pieces = {}, False
    with contextlib.suppress(Exception):  # it is not there, or not JSON: transformers has said so
        folder = local_folder(source, revision)
        has_pieces = any(folder.glob("*.model"))
        settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    if "AutoTokenizer" in (settings.get("auto_map") or {}):
        return _own_code(error, source)
    if has_pieces and find_spec("sentencepiece") is None:  # transformers asks for tiktoken then
        return DependencyError(
            f"{source}: its tokenizer is stored as a sentencepiece model only. Reading it needs another package. "
            f"Install it with: {install('sentencepiece')}"
        )
    if isinstance(problem, ImportError):  # of Flaubert and some others, of which there is no fast one
        return error(
            f"{source}: its tokenizer cannot be opened ({_first_line(problem)}), and amix needs it as a "
            "tokenizer.json, which is not there. Save one beside the weights that gives the same ids, or take a "
            "model that has one."
        )
    return load_error(error, source, "its tokenizer cannot be loaded", problem)


def _own_code(error: type[AmixError], model: str) -> AmixError:
    return error(
        f"{model}: brings code of its own, which amix does not run. Take a model whose architecture and tokenizer are "
        "built into transformers; a later version of transformers may have these built in."
    )


def _first_line(problem: Exception) -> str:
    lines = (line.strip() for line in str(problem).splitlines())
    return next((line for line in lines if line), type(problem).__name__).rstrip(".")
