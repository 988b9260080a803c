"""Does an exported graph compute what the encoder does? Probes: real text of several lengths, padded in batches.

Axes: B batch, H heads, T tokens.
"""

from dataclasses import dataclass
from importlib import metadata
from typing import assert_never

import numpy as np
import torch
from numpy.typing import NDArray

from amix.engine.base.errors import AmixError, ExportError, UsageError
from amix.engine.base.words import counted
from amix.engine.extractor.encoder import Encoder, unreadable
from amix.engine.extractor.folder import Dtype, RelevanceKind
from amix.engine.extractor.measures import GraphParity
from amix.engine.extractor.module import RelevanceModule
from amix.engine.extractor.runner import Ids
from amix.engine.extractor.session import Session
from amix.engine.extractor.tokenizer import padding_id
from amix.exporters.capture import example_inputs
from amix.exporters.options import Via

TEXTS = (
    "The film opens on an empty platform, and for ten minutes nothing happens; I was never bored.",
    "Bad. Just bad.",
    "What were the names of the three ships that crossed the Atlantic in 1492?",
    "She's warm, quick-witted and (for once) allowed to be wrong about everything that matters.",
    "Revenue rose 3.4% to $1,204.50 million, while costs -- mostly energy -- fell by a fifth.",
    "Please restart the router, wait 30 seconds, then open http://192.168.0.1/setup?lang=en.",
    "An overlong, overwritten, undercooked epic whose best joke is its running time.",
    "Le café était fermé, but the señora at the naïve gallery sold us 'Übermut' for 12 €.",
    "東京の夜は静かだった。 Привет, мир! שלום",
    "🙂👍🏽 lol that ending?!?! no spoilers… 10/10 would cry again",
    "If the premises hold and the step is valid, then the conclusion follows; otherwise, nothing does.",
    "a",
)
SHAPES = ((1, 3), (1, 96), (2, 9), (3, 24), (4, 48), (5, 96))  # texts, tokens

TOLERANCE = 1e-3  # float32: largest absolute difference; about 1e-5 is usual
TOLERANCE_HALF = 2e-2  # float16: difference relative to the reference, in L2 norm
# How far a row's sum may be from its number of tokens, as a share of that number.
TOLERANCE_SUM: dict[Dtype, float] = {"float32": 1e-4, "float16": 1e-2, "int8": 1e-2}


@dataclass(frozen=True, kw_only=True)
class Probe:
    """One batch, and its relevance from the whole encoder in eager PyTorch."""

    inputs: dict[str, Ids]
    relevance_BHT: NDArray[np.float32]

    @property
    def shape(self) -> tuple[int, int]:
        """Number of texts and of tokens in each."""
        texts, _, tokens = self.relevance_BHT.shape
        return texts, tokens


def make_probes(encoder: Encoder, reference: RelevanceModule, via: Via = "direct") -> list[Probe]:
    """Return batches of 1 to 5 texts, alone and as pairs, most of them with padding.

    via: what will write the graph, `direct` or `optimum`.
    Raises UsageError where this kind of relevance means nothing in this encoder, ExportError where its attention cannot
    be read, or the installed transformers cannot export it.
    """
    _require_readable(encoder, reference)
    probes: list[Probe] = []
    for number, (batch, length) in enumerate(SHAPES):
        inputs = _encode(encoder, number, batch, min(length, encoder.max_length))
        with torch.inference_mode():
            relevance_BHT = reference(*(torch.from_numpy(inputs[name]) for name in encoder.input_names))
        probes.append(Probe(inputs=inputs, relevance_BHT=relevance_BHT.numpy()))
    if is_causal(encoder):
        _check_decoder(encoder, reference.kind, via)
    return probes


def _require_readable(encoder: Encoder, reference: RelevanceModule) -> None:
    if getattr(encoder.config, "is_encoder_decoder", False):
        raise unreadable(encoder.model_type, "it is an encoder with a decoder, which has to be run beside it")
    try:
        reference.require_probabilities()
        padding = _effect_of_padding(encoder, reference)
    except AmixError:
        raise
    except Exception as problem:  # whatever a family raises that needs more than ids and a mask
        raise unreadable(encoder.model_type, f"the model cannot be called ({problem})") from problem
    if padding > TOLERANCE:
        raise unreadable(encoder.model_type, "what a token receives depends on the padding behind its text")


def _effect_of_padding(encoder: Encoder, reference: RelevanceModule) -> float:
    """Return how much padding changes the relevance of a text of five tokens."""
    ids_BT = example_inputs(encoder)[0][:1, :5]
    padded_BT = torch.nn.functional.pad(ids_BT, (0, 3), value=padding_id(encoder.tokenizer))
    mask_BT = (torch.arange(8) < 5).long()[None]
    found = []
    with torch.inference_mode():
        for ids, mask in ((ids_BT, mask_BT[:, :5]), (padded_BT, mask_BT)):
            inputs = (ids, mask, torch.zeros_like(ids))[: len(encoder.input_names)]
            found.append(reference(*inputs)[..., :5])
    return float((found[0] - found[1]).abs().max())


def is_causal(encoder: Encoder) -> bool:
    """Tell whether tokens attend only to what is before them, as in a decoder."""
    ids_BT = torch.full((1, 3), encoder.config.vocab_size // 2)
    with torch.inference_mode():
        maps = encoder.model(input_ids=ids_BT, attention_mask=torch.ones_like(ids_BT), output_attentions=True)
    return not maps.attentions[0][:, :, 0, 1:].any()


def _check_decoder(encoder: Encoder, kind: RelevanceKind, via: Via) -> None:
    if kind == "cls":
        raise UsageError(
            f"--relevance cls: the first token of a decoder ({encoder.model_type}) attends to nothing but itself, "
            "so it tells nothing about the others. Use --relevance received."
        )
    installed = metadata.version("transformers")
    if int(installed.partition(".")[0]) < 5 and via == "direct":
        # Its causal masks are made by vmap over index functions, which neither torch.export nor torch.jit can follow;
        # Optimum replaces them while it traces.
        raise ExportError(
            f"a decoder ({encoder.model_type}) is exported with transformers 5 or later; {installed} is installed, "
            "whose causal masks cannot be captured. Give --via optimum, or export in an environment with "
            "transformers 5: what it writes can be used with either."
        )


def _encode(encoder: Encoder, number: int, batch: int, length: int) -> dict[str, Ids]:
    pad = padding_id(encoder.tokenizer)
    ids_BT = np.full((batch, length), pad, np.int64)
    mask_BT, types_BT = np.zeros_like(ids_BT), np.zeros_like(ids_BT)
    for row in range(batch):
        texts = [TEXTS[(number + row + step) % len(TEXTS)] for step in range(len(TEXTS))]
        text, pair = (" ".join(texts), None) if row % 2 else (texts[0], " ".join(texts[1:]))
        wanted = max(length - 5 * row, 1)  # the first row fills the batch, the others are padded
        encoding = encoder.tokenizer.backend_tokenizer.encode(text, pair)
        count = min(wanted, len(encoding.ids))
        ids_BT[row, :count] = encoding.ids[:count]
        mask_BT[row, :count] = 1
        types_BT[row, :count] = encoding.type_ids[:count]
    inputs = {"input_ids": ids_BT, "attention_mask": mask_BT, "token_type_ids": types_BT}
    return {name: inputs[name] for name in encoder.input_names}


def check(session: Session, probes: list[Probe]) -> GraphParity:
    """Return how far `session` is from the reference.

    Raises ExportError past the tolerance of its dtype, or where rows do not sum to their number of tokens.
    int8 has no tolerance: its difference is reported (amix.exporters.fidelity), and the user judges it.
    """
    dtype, where = session.extractor.dtype, f"the exported graph ({session.backend})"
    largest = square = norm = 0.0
    for probe in probes:
        try:
            found_BHT = session.run(**probe.inputs)
        except AmixError:
            raise
        except Exception as problem:  # every backend raises its own kinds
            rows, tokens = probe.shape
            raise ExportError(
                f"{where} cannot run {counted(rows, 'text')} of {tokens} tokens ({problem}). It is not published. "
                "Use another --format."
            ) from problem
        mask_BT = probe.inputs["attention_mask"]
        shape = tuple(found_BHT.shape)
        if shape != probe.relevance_BHT.shape or not np.isfinite(found_BHT).all():
            raise ExportError(
                f"{where} gives shape {shape} or values that are not finite. It is not published. Try "
                "another --format or --dtype."
            )
        count_B = mask_BT.sum(axis=1)
        off = np.abs(found_BHT.sum(axis=2) / count_B[:, None] - 1).max()
        if off > TOLERANCE_SUM[dtype] or np.abs(found_BHT * (mask_BT[:, None, :] == 0)).max() > 0:
            raise ExportError(
                f"{where} gives relevance that does not sum to the number of tokens (off by {off:.1e}) "
                "or is not 0 at padding. It is not published. Try another --format or --dtype."
            )
        difference = found_BHT.astype(np.float64) - probe.relevance_BHT
        largest = max(largest, float(np.abs(difference).max()))
        square += float(np.square(difference).sum())
        norm += float(np.square(probe.relevance_BHT, dtype=np.float64).sum())
    report = GraphParity(max_abs=largest, relative_l2=(square / norm) ** 0.5)
    match dtype:
        case "float32":
            value, limit = report.max_abs, TOLERANCE
        case "float16":
            value, limit = report.relative_l2, TOLERANCE_HALF
        case "int8":
            value, limit = 0.0, float("inf")
        case _:
            assert_never(dtype)
    if value > limit:
        raise ExportError(
            f"{where} differs from the encoder by {value:.1e}, more than the {limit:.0e} allowed for "
            f"{dtype}. It is not published. Try another --format, --opset or --dtype."
        )
    return report
