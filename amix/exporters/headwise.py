"""Attention in ONNX operators head by head, without a softmax: fast where memory traffic costs most, as in layer 0.

The scores of all heads do not fit into the second-level cache of a core, and scale, mask, softmax and reduction each
read and write them. Those of one head do fit; and of E = exp(scores) only products with vectors, or with the values,
are needed: sums of rows, then weighted sums of columns.

exp may overflow where a softmax subtracts the largest score of a row first. Lengths of queries and keys bound the
scores of a head (Cauchy-Schwarz), and tell whether it can. If so, that head subtracts for that batch: any scores are
right.

Axes: B batch, H heads, T tokens, D width of a head.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from amix.exporters.openattention import NODE

_DOMAIN, _, _OPERATOR = NODE.partition("::")

# float32 holds e^80 summed over 5,000 keys, and e^-80 with all its digits.
_EXPONENT = 80.0
_LEAST = 1e-37  # for the sum of a row without a real key, which is 0
_EXCLUDED = -1e30  # added to scores of padding


def expand(model: onnx.ModelProto, heads: int) -> None:
    """Replace the nodes of `OpenRelevance` in `model`, in place, by what computes them. heads: of every layer."""
    graph = model.graph
    nodes = list(graph.node)
    del graph.node[:]
    for number, node in enumerate(nodes):
        if node.domain == _DOMAIN and node.op_type == _OPERATOR:
            graph.node.extend(_Attention(graph, f"attention_{number}", heads).nodes(node))
        else:
            graph.node.append(node)
    kept = [entry for entry in model.opset_import if entry.domain != _DOMAIN]
    del model.opset_import[:]
    model.opset_import.extend(kept)


class _Attention:
    """Writes one layer's nodes, with names of their own."""

    def __init__(self, graph: onnx.GraphProto, prefix: str, heads: int) -> None:
        self._graph, self._prefix, self._heads = graph, prefix, heads
        self._made: list[onnx.NodeProto] = []

    def nodes(self, node: onnx.NodeProto) -> list[onnx.NodeProto]:
        """Return what computes the outputs of `node`."""
        query_BHTD, key_BHTD, mask_BT, *value = node.input
        received_BHT, *context = node.output
        self._add("Unsqueeze", [mask_BT, self._integers("to_row", 1, 2)], "row")  # (B, 1, 1, T)
        self._add("Unsqueeze", [mask_BT, self._integers("to_column", 1, 3)], "column")  # (B, 1, T, 1)
        self._add("Transpose", [key_BHTD], "keys", perm=[0, 1, 3, 2])
        queries, keys = self._split("query", query_BHTD), self._split("key", self._name("keys"))
        values: Sequence[str | None] = self._split("value", value[0]) if value else [None] * self._heads
        fits = self._fits(query_BHTD, key_BHTD)
        self._add("Sub", ["row", self._number("one", 1.0)], "less_one")
        self._add("Mul", ["less_one", self._number("excluded", -_EXCLUDED)], "bias")
        self._integers("row_shape", 0, 1, 1, -1)
        self._number("floor", -_EXPONENT)
        parts, contexts = [], []
        for head in range(self._heads):
            column_sums, taken = self._head(head, queries[head], keys[head], values[head], fits[head])
            parts.append(column_sums)
            contexts.append(taken)
        if value:
            self._made.append(helper.make_node("Concat", contexts, context, axis=1))
        self._add("Concat", parts, "received", axis=1)
        self._add("Squeeze", ["received", self._integers("third", 2)], "unmasked")
        self._add("Squeeze", ["row", self._integers("second", 2)], "row_B1T")
        made = helper.make_node("Mul", [self._name("unmasked"), self._name("row_B1T")], [received_BHT])
        self._made.append(made)
        return self._made

    def _head(
        self, head: int, query_B1TD: str, key_B1DT: str, value_B1TD: str | None, fits: str
    ) -> tuple[str, str]:
        """Add one head, and return its column sums (B, 1, 1, T) and its context (B, 1, T, D)."""
        exp = self._name(f"exp_{head}")
        branches = {
            "then_branch": self._branch(exp, "then", query_B1TD, key_B1DT, exact=False),
            "else_branch": self._branch(exp, "else", query_B1TD, key_B1DT, exact=True),
        }
        self._made.append(helper.make_node("If", [fits], [exp], **branches))
        self._add("MatMul", [exp, "column"], f"sums_{head}")
        self._add("Max", [f"sums_{head}", self._number("least", _LEAST)], f"safe_{head}")
        self._add("Div", ["column", f"safe_{head}"], f"weights_{head}")
        self._add("Reshape", [f"weights_{head}", "row_shape"], f"turned_{head}")
        self._add("MatMul", [f"turned_{head}", exp], f"part_{head}")
        if value_B1TD is not None:
            self._add("Mul", [value_B1TD, "column"], f"real_{head}")
            self._add("MatMul", [exp, f"real_{head}"], f"total_{head}")
            self._add("Div", [f"total_{head}", f"safe_{head}"], f"context_{head}")
        return self._name(f"part_{head}"), self._name(f"context_{head}")

    def _branch(self, exp: str, kind: str, query: str, key: str, *, exact: bool) -> onnx.GraphProto:
        """Return a graph of E = exp(scores), where `exact` less the largest score of each row."""
        names = [f"{exp}_{kind}_{step}" for step in range(6)]
        nodes = [helper.make_node("MatMul", [query, key], [names[0]])]
        last = names[0]
        if exact:
            axis = self._integers("last", 3)
            nodes += [
                helper.make_node("Add", [names[0], self._name("bias")], [names[1]]),
                helper.make_node("ReduceMax", [names[1], axis], [names[2]], keepdims=1),
                helper.make_node("Sub", [names[1], names[2]], [names[3]]),
                # Smaller ones would be denormal numbers, with which a processor is slow.
                helper.make_node("Max", [names[3], self._name("floor")], [names[4]]),
            ]
            last = names[4]
        nodes.append(helper.make_node("Exp", [last], [names[5]]))
        output = helper.make_tensor_value_info(names[5], onnx.TensorProto.FLOAT, [None] * 4)
        return helper.make_graph(nodes, f"{exp}_{kind}", [], [output])

    def _fits(self, query_BHTD: str, key_BHTD: str) -> Sequence[str]:
        """Return names of a truth value for each head: no score is so large that its exp needs care."""
        for name, tensor in (("query", query_BHTD), ("key", key_BHTD)):
            self._add("ReduceSumSquare", [tensor, self._integers("last", 3)], f"{name}_square", keepdims=0)
            axes = self._integers("all_but_heads", 0, 2)
            self._add("ReduceMax", [f"{name}_square", axes], f"{name}_longest", keepdims=0)
        self._add("Mul", ["query_longest", "key_longest"], "bound")
        self._add("LessOrEqual", ["bound", self._number("limit", _EXPONENT**2)], "fit")  # False for NaN
        return self._split("fits", self._name("fit"), axis=0)

    def _split(self, name: str, tensor: str, axis: int = 1) -> Sequence[str]:
        outputs = [self._name(f"{name}_{head}") for head in range(self._heads)]
        sizes = self._integers("ones", *[1] * self._heads)
        self._made.append(helper.make_node("Split", [tensor, sizes], outputs, axis=axis))
        return outputs

    def _add(self, operator: str, inputs: Sequence[str], output: str, **attributes: Any) -> None:  # noqa: ANN401  of ONNX
        own = {name for made in self._made for name in made.output}
        known = own | {tensor.name for tensor in self._graph.initializer}
        full = [self._name(name) if self._name(name) in known else name for name in inputs]
        self._made.append(helper.make_node(operator, full, [self._name(output)], **attributes))

    def _name(self, name: str) -> str:
        return f"{self._prefix}_{name}"

    def _integers(self, name: str, *values: int) -> str:
        return self._constant(name, np.array(values, np.int64))

    def _number(self, name: str, value: float) -> str:
        return self._constant(name, np.array(value, np.float32))

    def _constant(self, name: str, value: np.ndarray) -> str:
        full = self._name(name)
        if all(tensor.name != full for tensor in self._graph.initializer):
            self._graph.initializer.append(numpy_helper.from_array(value, full))
        return full
