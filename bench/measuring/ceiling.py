"""The arithmetic ceiling: the operations that relevance needs, at the rates that this machine reaches for each.

    python bench/measuring/ceiling.py --width 384 --inner 1536 --heads 12 [--threads N]

prints the measured rates as one JSON object. Only what exactly the unpadded tokens need is counted. With D width,
F inner width, H heads, d = D / H, T tokens of a text, and layers up to the deepest exported one, n (0-based):

    projections   2 T D D         query, key, value and output of layers < n, query and key of layer n
    up, down      2 T D F each    feed-forward of layers < n
    scores        2 T T D         query x key of layers <= n
    values        2 T T D         probabilities x value of layers < n
    reduction     2 T T H         mask x probabilities of every exported layer
    exponentials    T T H         softmax of layers <= n; counted apart, as they are no multiplications

Embeddings, normalisation, activation and residuals are left out: they are few operations, so the ceiling is a little
higher than what can be reached.
"""

import argparse
import functools
import json
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

PRODUCTS = ("projections", "up", "down", "scores", "values", "reduction")
ROWS = 2048  # tokens of a batch
LENGTH = 256  # tokens of a text, for what goes with their square
SECONDS = 0.3  # of each measurement

Array = NDArray[np.float32]


def operations(
    lengths: Sequence[int], layers: Sequence[int], width: int, inner: int, heads: int
) -> dict[str, float]:
    """Return the operations, by kind, that relevance of `layers` needs for texts of `lengths` tokens."""
    linear, square = float(sum(lengths)), float(sum(length * length for length in lengths))
    below = max(layers)  # layers that are computed to their end
    return {
        "projections": 2 * linear * width * width * (4 * below + 2),
        "up": 2 * linear * width * inner * below,
        "down": 2 * linear * width * inner * below,
        "scores": 2 * square * width * (below + 1),
        "values": 2 * square * width * below,
        "reduction": 2 * square * heads * len(layers),
        "exponentials": square * heads * (below + 1),
    }


def seconds(needed: dict[str, float], rates: dict[str, float], *, exponentials: bool = False) -> float:
    """Return how long the products in `needed` take at `rates`, with the softmax's exponentials or without."""
    kinds = (*PRODUCTS, "exponentials") if exponentials else PRODUCTS
    return sum(needed[kind] / rates[kind] for kind in kinds)


def measure(width: int, inner: int, heads: int, threads: int) -> dict[str, float]:
    """Return operations per second of each kind at the model's shapes: the better of numpy and ONNX Runtime."""
    texts, depth = ROWS // LENGTH, width // heads
    shapes = {
        "projections": ((ROWS, width), (width, width)),
        "up": ((ROWS, width), (width, inner)),
        "down": ((ROWS, inner), (inner, width)),
        "scores": ((texts, heads, LENGTH, depth), (texts, heads, depth, LENGTH)),
        "values": ((texts, heads, LENGTH, LENGTH), (texts, heads, LENGTH, depth)),
        "reduction": ((texts, heads, 1, LENGTH), (texts, heads, LENGTH, LENGTH)),
    }
    rng = np.random.default_rng(0)
    rates = {}
    for kind, (left, right) in shapes.items():
        a, b = rng.standard_normal(left, np.float32), rng.standard_normal(right, np.float32)
        count = 2 * math.prod(left) * right[-1]
        # Weights are constants of a graph, which ONNX Runtime packs once.
        run = _runner("MatMul", [a, b], constant=len(left) == 2, threads=threads)
        out = np.empty((*left[:-1], right[-1]), np.float32)
        rates[kind] = count / min(_best(run), _best(functools.partial(np.matmul, a, b, out=out)))
    scores = rng.standard_normal((texts, heads, LENGTH, LENGTH), np.float32)
    rates["exponentials"] = scores.size / _best(_runner("Softmax", [scores], threads=threads))
    return rates


def _runner(
    kind: str, operands: list[Array], *, threads: int, constant: bool = False
) -> Callable[[], object]:
    """Return a run of one ONNX operator on `operands`, the last of them a constant of the graph or an input."""
    import onnx
    import onnxruntime as ort
    from onnx import TensorProto, helper, numpy_helper

    names = [f"x{number}" for number in range(len(operands))]
    fed = names[:-1] if constant else names
    # A scalar comes out, as handing out a large result would be timed too.
    nodes = [helper.make_node(kind, names, ["y"]), helper.make_node("Shape", ["y"], ["shape"])]
    graph = helper.make_graph(
        nodes,
        "operator",
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * operand.ndim)
            for name, operand in zip(fed, operands, strict=False)
        ],
        [helper.make_tensor_value_info("shape", TensorProto.INT64, [None])],
        [numpy_helper.from_array(operands[-1], names[-1])] if constant else [],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    inputs = dict(zip(fed, operands, strict=False))
    return lambda: session.run(None, inputs)


def _best(run: Callable[[], object]) -> float:
    """Return the least seconds of a run, the first not counted."""
    run()
    least, end = math.inf, time.perf_counter() + SECONDS
    while time.perf_counter() < end:
        began = time.perf_counter()
        run()
        least = min(least, time.perf_counter() - began)
    return least


def sizes(config: dict[str, Any]) -> dict[str, int]:
    """Return width, inner width and heads of an encoder's `config.json` of the BERT family."""
    return {
        "width": config["hidden_size"],
        "inner": config["intermediate_size"],
        "heads": config["num_attention_heads"],
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in ("--width", "--inner", "--heads"):
        parser.add_argument(name, type=int, required=True)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    print(json.dumps(measure(**vars(given))))  # noqa: T201  its answer


if __name__ == "__main__":
    main()
