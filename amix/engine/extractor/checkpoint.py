"""The weights of a checkpoint in a model: every weight of the encoder comes from there, or the model is refused.

transformers draws at random what it does not find, and says so in a log line. Only a head and a pooler may be drawn.
"""

import functools
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from amix.engine.base.errors import AmixError
from amix.engine.extractor.pretrained import WEIGHTS, local_folder, open_config, quiet_transformers

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

_LOG = logging.getLogger(__name__)
_NAMED = 3  # weights that a message names


@dataclass(frozen=True)
class Misfit:
    """What does not fit of a checkpoint, by the names of weights.

    missing, other_shape: weights of the encoder that the checkpoint lacks, or has in another shape.
    unread: weights of the checkpoint that the model does not have.
    base: what the encoder's names begin with in the model, `bert.` in a classifier, else nothing.
    """

    missing: Sequence[str]
    other_shape: Sequence[str]
    unread: Sequence[str]
    base: str

    def __bool__(self) -> bool:
        return bool(self.missing or self.other_shape)

    def prefixes(self) -> list[str]:
        """Return what stands before the encoder's names in the checkpoint: `_orig_mod.`, or two for two encoders."""
        wanted = [name.removeprefix(self.base) for name in self.missing]
        if not wanted:
            return []
        unread = set(self.unread)
        ends = [name for name in self.unread if name.endswith(f".{wanted[0]}")]
        found = {name.removesuffix(wanted[0]) for name in ends}
        found = {prefix for prefix in found if all(prefix + name in unread for name in wanted)}
        # The encoder's place in a classifier is part of the name there, so that the head is found beside it.
        return sorted({prefix.removesuffix(self.base) for prefix in found} - {""})

    def sentence(self) -> str:
        """Return what is wrong and what to do, without the name of the model."""
        parts, whose = [], "the encoder's weights"
        if self.missing:
            parts.append(f"lacks {len(self.missing)} of {whose} ({_some(self.missing)})")
            whose = "them"
        if self.other_shape:
            count, names = len(self.other_shape), _some(self.other_shape)
            parts.append(f"has {count} of {whose} in another shape than config.json says ({names})")
        text = f"the checkpoint {' and '.join(parts)}, which would be random. "
        prefixes = self.prefixes()
        if len(prefixes) > 1:
            return f"{text}It holds {len(prefixes)} encoders ({', '.join(prefixes)}). Save one of them by itself."
        if self.unread:
            text += f"It holds {len(self.unread)} weights of other names ({_some(self.unread)}). "
        return f"{text}Use a complete checkpoint and the config.json that belongs to it."


def load_weights(
    loader: Any,  # noqa: ANN401  AutoModel, one of its kind, or a model's class
    source: str,
    name: str,
    error: type[AmixError],
    *,
    revision: str | None = None,
    **options: Any,  # noqa: ANN401  of from_pretrained
) -> Any:  # noqa: ANN401  a model of the loader's kind
    """Return `loader.from_pretrained(source, **options)`, with all weights of the encoder from the checkpoint.

    A prefix before all their names, such as torch.compile leaves, is left out with a note.
    name: of the model, for messages.  options: `config` is one of them.
    Raises `error` for a checkpoint that does not fit, and whatever transformers raises. The head of a classifier, or
    one of another shape, and a pooler that is missing are drawn from torch's generator.
    """
    network, misfit = _load(loader, source, revision=revision, **options)
    prefixes = misfit.prefixes()
    if len(prefixes) == 1:
        weights = {key.removeprefix(prefixes[0]): value for key, value in _stored(source, revision).items()}
        network, misfit = _load(type(network), None, state_dict=weights, **options)
        if not misfit:
            _note_prefix(name, prefixes[0])
    if misfit:
        own = " The model brings code of its own, which amix does not run." if _has_code(network) else ""
        raise error(f"{name}: {misfit.sentence()}{own}")
    if _has_code(network):
        _note_code(name, type(network).__name__)
    return network


def misfit_of(network: "PreTrainedModel") -> Misfit | None:
    """Return what does not fit of the checkpoint that a loaded model names as its own; None where that is not known.

    Names and shapes are compared, of files that are on this machine; the weights themselves may have been set since.
    """
    source = network.name_or_path
    if not source:
        return None
    with quiet_transformers():
        try:
            # Not the model's own configuration, which may have been changed since (more words, another head).
            config = open_config(source, local_files_only=True)
            _, misfit = _load(type(network), source, config=config, device_map="meta", local_files_only=True)
        except Exception:  # a dozen kinds: it is no longer there, or was never a checkpoint
            return None
    return misfit


def _load(
    loader: Any,  # noqa: ANN401  as load_weights
    source: str | None,
    **options: Any,  # noqa: ANN401  as load_weights
) -> tuple["PreTrainedModel", Misfit]:
    network: PreTrainedModel
    network, info = loader.from_pretrained(
        source,
        trust_remote_code=False,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # a head for other classes is replaced, the rest is looked at here
        **options,
    )
    base = "" if network.base_model is network else f"{network.base_model_prefix}."

    def of_encoder(names: Sequence[str]) -> list[str]:
        return sorted(key for key in names if key.startswith(base) and "pooler" not in key.split("."))

    # transformers 5 gives shapes beside the names.
    mismatched = [key if isinstance(key, str) else key[0] for key in info["mismatched_keys"]]
    return network, Misfit(
        of_encoder(info["missing_keys"]), of_encoder(mismatched), sorted(info["unexpected_keys"]), base
    )


def _stored(source: str, revision: str | None) -> dict[str, "Tensor"]:
    """Return the weights of a checkpoint by the names that they are stored under."""
    import torch
    from safetensors.torch import load_file

    folder = local_folder(source, revision)
    name = next(name for name in WEIGHTS if (folder / name).is_file())
    if name.endswith(".json"):
        parts = set(json.loads((folder / name).read_text(encoding="utf-8"))["weight_map"].values())
    else:
        parts = {name}
    found: dict[str, Tensor] = {}
    for part in sorted(parts):
        path = folder / part
        if path.suffix == ".safetensors":
            found |= load_file(path)
        else:
            found |= torch.load(path, map_location="cpu", weights_only=True)
    return found


def _has_code(network: "PreTrainedModel") -> bool:
    return bool(getattr(network.config, "auto_map", None))


@functools.cache  # once for each model: a comparison loads it for every run
def _note_prefix(name: str, prefix: str) -> None:
    _LOG.warning(
        f"{name}: the names of its weights begin with '{prefix}', as torch.compile or another wrapper leaves them. "
        "This prefix is left out."
    )


@functools.cache
def _note_code(name: str, built_in: str) -> None:
    _LOG.warning(
        f"{name}: brings code of its own, which amix does not run. All its weights fit transformers' {built_in}, "
        "which is used instead."
    )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")
