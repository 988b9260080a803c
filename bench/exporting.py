"""How long an export takes, and how large the graph is, beside Optimum's export of the same encoder.

    python bench/exporting.py --model MODEL [--optimum-python VENV/bin/python] [--repeats 3] [--json FILE]

Whole commands, each in a process of its own, in turn. amix compares every graph with the encoder before it writes it,
which is counted; Optimum's export is that of bench/peers/loop.py, with attention maps as outputs and no comparison.
"""

import argparse
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from measuring.boundtable import Bound, bound_table, chart
from measuring.command import ROOT, child
from measuring.turns import finish, in_turn

OPTIMUM = "Optimum, attention maps"
WHOLE = "amix, all layers, ONNX"
EXPORTS = {
    WHOLE: [],
    "amix, layer 0, ONNX": ["--layers", "0"],
    "amix, all layers, TorchScript": ["--format", "torchscript"],
    "amix, all layers, torch.export": ["--format", "pt2"],
}
TABLE: list[Bound] = [
    ("over", "seconds of an export of all layers over Optimum's", 1.0, "<="),
]


def turn(given: argparse.Namespace, figures: dict[str, list[float]]) -> None:
    """Export everything once."""
    names = [*EXPORTS, *([OPTIMUM] if given.optimum_python else [])]
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder, "out")
            if name == OPTIMUM:
                script = str(ROOT / "bench/peers/loop.py")
                command = [
                    given.optimum_python,
                    script,
                    "--prepare",
                    "--model",
                    given.model,
                    "--graph",
                    str(out),
                ]
            else:
                command = [
                    sys.executable,
                    "-m",
                    "amix",
                    "export",
                    given.model,
                    str(out),
                    *EXPORTS[name],
                    "--json",
                ]
            began = time.perf_counter()
            child(command)
            figures[name].append(time.perf_counter() - began)
            graphs = [path for path in out.iterdir() if path.name.startswith("model.")]
            figures[f"{name}, MB"].append(sum(path.stat().st_size for path in graphs) / 1e6)
        print(f"  {name}: {figures[name][-1]:.1f} s", file=sys.stderr)  # noqa: T201  progress
    if given.optimum_python:
        figures["over"].append(figures[WHOLE][-1] / figures[OPTIMUM][-1])


def main() -> None:
    """Measure in turn, print the tables, write the list."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True)
    parser.add_argument("--optimum-python", help="interpreter of an environment with optimum-onnx")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, dest="out")
    given = parser.parse_args()
    figures: dict[str, list[float]] = defaultdict(list)
    in_turn(given.repeats, lambda: turn(given, figures))
    names = [*EXPORTS, OPTIMUM]
    lines, results = bound_table(TABLE, figures)
    seconds = chart("Export", "seconds", {name: name for name in names}, figures)
    sizes = chart("Size of the graph", "MB", {f"{name}, MB": name for name in names}, figures)
    lines += ["", "| export | seconds | MB |", "|---|---|---|"]
    lines += [
        f"| {one['measure']} | {one['value']:.1f} | {two['value']:.1f} |"
        for one, two in zip(seconds, sizes, strict=True)
    ]
    finish(lines, results + seconds + sizes, given.out)


if __name__ == "__main__":
    main()
