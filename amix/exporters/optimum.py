"""The extractor as an ONNX graph written by Hugging Face Optimum, for users who export everything through it."""

import contextlib
import logging
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor, nn

from amix.engine.base.errors import DependencyError, ExportError
from amix.engine.base.installing import install
from amix.engine.extractor.encoder import Encoder
from amix.engine.extractor.module import RelevanceModule
from amix.engine.extractor.pretrained import quiet_transformers
from amix.engine.extractor.runner import Ids
from amix.exporters.capture import example_inputs, quiet_torch
from amix.exporters.onnx import finish

if TYPE_CHECKING:
    from optimum.exporters.onnx import OnnxConfig

_DEFAULT_OPSET = 20  # the default of torch.onnx, so that both ways give the same operators
PACKAGES = ("optimum", "optimum-onnx")  # recorded in extractor.json when they wrote the graph


def require_optimum() -> None:
    """Raise DependencyError unless optimum-onnx and what it imports are installed."""
    try:
        with quiet_torch():
            from optimum.exporters.onnx import OnnxConfig, export  # noqa: F401  only whether they are there
    except (ImportError, RuntimeError) as problem:
        # transformers' lazy modules wrap an ImportError in a RuntimeError.
        raise DependencyError(
            f"--via optimum needs optimum-onnx ({problem}), and that needs transformers < 4.58. Install both, "
            f"best in an environment of their own, with: {install('optimum')}. "
            "Or leave --via out: the extractor is the same."
        ) from None


def write_optimum(module: RelevanceModule, encoder: Encoder, path: Path, opset: int | None = None) -> int:
    """Write `module` to `path` through Optimum's `export` and return the opset it got.

    The graph has the inputs, output and axes of `write_onnx`, and holds no paths either.
    """
    import onnx
    from optimum.exporters.onnx import export

    # Next to the final file, because Optimum writes large weights as separate files next to the graph.
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".optimum-") as folder:
        draft = Path(folder) / path.name
        try:
            with quiet_torch(), quiet_transformers(), _quiet_optimum():
                export(_Exportable(module), _onnx_config(encoder), draft, opset=opset or _DEFAULT_OPSET)
        except ExportError:
            raise
        except Exception as problem:  # the tracer, the ONNX checker and Optimum raise many kinds
            raise ExportError(
                f"Optimum cannot write a model of type '{encoder.model_type}' ({problem}). Leave --via optimum out."
            ) from problem
        return finish(onnx.load(draft), path)


class _Exportable(nn.Module):
    """`RelevanceModule` with the configuration that Optimum expects a model to carry."""

    def __init__(self, module: RelevanceModule) -> None:
        super().__init__()
        self.module = module
        self.config = module.network.config

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None
    ) -> Tensor:
        relevance: Tensor = self.module(input_ids, attention_mask, token_type_ids)
        return relevance


def _onnx_config(encoder: Encoder) -> "OnnxConfig":
    """Return what Optimum has to know about the graph: inputs, output, free axes and an example."""
    from optimum.exporters.onnx import OnnxConfig
    from optimum.utils import NormalizedConfig

    class RelevanceOnnxConfig(OnnxConfig):  # type: ignore[misc]  # untyped, and absent where mypy runs
        NORMALIZED_CONFIG_CLASS = NormalizedConfig

        @property
        def inputs(self) -> dict[str, dict[int, str]]:
            return {name: {0: "batch", 1: "tokens"} for name in encoder.input_names}

        @property
        def outputs(self) -> dict[str, dict[int, str]]:
            return {"relevance": {0: "batch", 2: "tokens"}}

        def generate_dummy_inputs(self, framework: str = "pt", **_shapes: int) -> Mapping[str, Tensor | Ids]:
            # Not Optimum's own: they are random, so two equal exports would be different files.
            example = dict(zip(encoder.input_names, example_inputs(encoder), strict=True))
            return {name: value.numpy() for name, value in example.items()} if framework == "np" else example

    return RelevanceOnnxConfig(encoder.config)


@contextlib.contextmanager
def _quiet_optimum() -> Iterator[None]:
    logger = logging.getLogger("optimum")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
