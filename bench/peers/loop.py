"""The loop that people write today to cache attention: batches in corpus order, mean over queries, np.save.

    python bench/peers/loop.py TEXTS --model MODEL --out FOLDER [--kind eager|optimum] [--threads N]

TEXTS is a JSON list of strings. `eager` is transformers with `output_attentions=True`; `optimum` is Optimum's
ONNX Runtime model of the same encoder, exported with its attentions as outputs (`--prepare` writes it to MODEL's
place in --graph, needs optimum-onnx). Nothing of amix is used, so any environment can run it. Prints one JSON object:
seconds of the loop (imports and loading left out), tokens, and computed tokens, padding included.

Axes: B batch, L layers, H heads, T tokens.
"""

import argparse
import json
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModel, AutoTokenizer

BATCH = 16
OPSET = 18

Maps = Callable[[Mapping[str, torch.Tensor]], "list[torch.Tensor]"]  # inputs (B, T) -> L maps (B, H, T, T)


def eager(model: str) -> Maps:
    """Return transformers' own way to attention maps."""
    network = AutoModel.from_pretrained(model, attn_implementation="eager", trust_remote_code=False).eval()

    def maps(inputs: Mapping[str, torch.Tensor]) -> list[torch.Tensor]:
        return list(network(**inputs, output_attentions=True).attentions)

    return maps


def optimum(graph: Path, threads: int) -> Maps:
    """Return Optimum's way to attention maps, through the graph that `prepare` wrote."""
    import onnxruntime as ort
    from optimum.onnxruntime import ORTModelForCustomTasks

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    network = ORTModelForCustomTasks.from_pretrained(graph, session_options=options, trust_remote_code=False)

    def maps(inputs: Mapping[str, torch.Tensor]) -> list[torch.Tensor]:
        outputs = network(**inputs)
        return [outputs[f"attentions.{layer}"] for layer in range(network.config.num_hidden_layers)]

    return maps


def prepare(model: str, graph: Path) -> None:
    """Export `model` through Optimum with one output per layer's attention."""
    from optimum.exporters.onnx import OnnxConfig, export
    from optimum.utils import DummyTextInputGenerator, NormalizedTextConfig

    network = AutoModel.from_pretrained(
        model, attn_implementation="eager", output_attentions=True, trust_remote_code=False
    ).eval()
    names = ["input_ids", "attention_mask"]
    if getattr(network.config, "type_vocab_size", 0) > 1:
        names.append("token_type_ids")

    class AttentionOnnxConfig(OnnxConfig):  # type: ignore[misc]  # untyped, and absent where the types are checked
        NORMALIZED_CONFIG_CLASS = NormalizedTextConfig
        DUMMY_INPUT_GENERATOR_CLASSES = (DummyTextInputGenerator,)

        @property
        def inputs(self) -> dict[str, dict[int, str]]:
            return {name: {0: "batch", 1: "tokens"} for name in names}

        @property
        def outputs(self) -> dict[str, dict[int, str]]:
            axes = {0: "batch", 2: "tokens", 3: "tokens"}
            return {f"attentions.{layer}": axes for layer in range(network.config.num_hidden_layers)}

    graph.mkdir(parents=True, exist_ok=True)
    export(network, AttentionOnnxConfig(network.config), graph / "model.onnx", opset=OPSET)
    network.config.save_pretrained(graph)  # last: it marks the folder as complete


def run(texts: list[str], model: str, maps: Maps, max_length: int, out: Path) -> dict[str, float]:
    """Save the mean over queries of every map of every text, a file per batch; return what it took."""
    tokenizer = AutoTokenizer.from_pretrained(model, trust_remote_code=False)
    tokens = computed = 0
    with torch.inference_mode():
        maps(tokenizer(texts[:1], return_tensors="pt", truncation=True, max_length=max_length))  # warm
        began = time.perf_counter()
        for first in range(0, len(texts), BATCH):
            inputs = tokenizer(
                texts[first : first + BATCH],
                padding=True,
                truncation=True,
                max_length=max_length,
                return_tensors="pt",
            )
            # The mean of each map before stacking: stacking the maps first would copy all of them once more.
            means_BLHT = torch.stack([map_BHTT.mean(dim=2) for map_BHTT in maps(inputs)], dim=1)
            np.save(out / f"{first:08d}.npy", means_BLHT.numpy())
            tokens += int(inputs["attention_mask"].sum())
            computed += inputs["attention_mask"].numel()
        return {
            "seconds": time.perf_counter() - began,
            "tokens": tokens,
            "computed_tokens": computed,
        }


def main() -> None:
    """Load, run, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("texts", type=Path, nargs="?")
    parser.add_argument("--model", required=True)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--kind", choices=["eager", "optimum"], default="eager")
    parser.add_argument("--graph", type=Path, help="folder of Optimum's graph")
    parser.add_argument("--prepare", action="store_true", help="only write Optimum's graph")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--max-length", type=int, default=512)
    given = parser.parse_args()
    logging.getLogger("transformers").setLevel(logging.ERROR)
    torch.set_num_threads(given.threads)
    if given.prepare:
        prepare(given.model, given.graph)
        return
    maps = eager(given.model) if given.kind == "eager" else optimum(given.graph, given.threads)
    texts: list[str] = json.loads(given.texts.read_text())
    print(json.dumps(run(texts, given.model, maps, given.max_length, given.out)))  # noqa: T201  its answer


if __name__ == "__main__":
    main()
