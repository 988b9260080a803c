"""What `amix doctor` finds out: versions, whether the packages fit together, devices, cores and memory."""

import importlib.metadata
import platform
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field

import amix
from amix.cli.diagnosis import cuda
from amix.cli.diagnosis.cuda import CudaFacts, Problem
from amix.engine.base.installing import install
from amix.engine.base.machine import available_cores, total_memory

# The packages that decide whether amix works, in the order shown.
PACKAGES = (
    "torch",
    "transformers",
    "tokenizers",
    "datasets",
    "numpy",
    "accelerate",
    "onnxruntime",
    "onnxruntime-gpu",
    "onnx",
    "onnxscript",
)
PROVIDERS = ("CUDAExecutionProvider", "CPUExecutionProvider")  # those of ONNX Runtime that amix asks for

# An ONNX model of one Identity node, opset 13: the smallest that makes ONNX Runtime load a provider.
_IDENTITY = bytes.fromhex(
    "08083a370a100a017812017922084964656e746974791201675a0f0a0178120a0a08080112040a02080162"
    "0f0a0179120a0a08080112040a02080142040a00100d"
)


@dataclass(kw_only=True)
class Report:
    """What was found. versions: None for a package that is not installed.  memory: in bytes."""

    versions: dict[str, str | None]
    cores: int
    memory: int
    providers: list[str] = field(default_factory=list)
    cuda: str | None = None
    driver: str | None = None  # the newest CUDA that the NVIDIA driver serves
    gpus: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def facts(self) -> dict[str, object]:
        """Return names and values as they are shown to a person."""
        return {
            "python": f"{platform.python_version()} ({sys.executable})",
            "amix": amix.__version__,
            **{name: version or "not installed" for name, version in self.versions.items()},
            "providers": ", ".join(self.providers) or "none",
            "CUDA": f"{self.cuda} ({', '.join(self.gpus) or 'no GPU'})" if self.cuda else "none",
            "NVIDIA driver": f"for CUDA up to {self.driver}" if self.driver else "none",
            "cores": self.cores,
            "memory": f"{self.memory / 2**30:.1f} GiB",
        }

    def as_dict(self) -> dict[str, object]:
        """Return the report for machines."""
        return {
            "python": platform.python_version(),
            "amix": amix.__version__,
            "packages": self.versions,
            "providers": self.providers,
            "cuda": self.cuda,
            "driver_cuda": self.driver,
            "gpus": self.gpus,
            "cores": self.cores,
            "memory_bytes": self.memory,
            "notes": self.notes,
            "problems": [{"what": problem.what, "remedy": problem.remedy} for problem in self.problems],
        }


def examine() -> Report:
    """Look at the installation and the machine."""
    report = Report(
        versions={name: installed_version(name) for name in PACKAGES},
        cores=available_cores(),
        memory=total_memory(),
    )
    report.problems += unmet_requirements()
    if installed_version("attentionmix") is None:
        report.notes.append("amix is not installed here, so versions were not compared with what it needs")
    report.driver = cuda.driver_version()
    _examine_torch(report)  # before ONNX Runtime, which finds the CUDA libraries that torch has loaded
    built_with, missing = _examine_onnxruntime(report)
    found = CudaFacts(
        driver=report.driver,
        torch=report.cuda,
        gpus=tuple(report.gpus),
        runtime=report.versions["onnxruntime"],
        gpu_runtime=report.versions["onnxruntime-gpu"],
        runtime_cuda=built_with,
        missing=missing,
        starts="CUDAExecutionProvider" in report.providers,
    )
    report.problems += cuda.cuda_problems(found)
    report.notes += cuda.cuda_notes(found)
    if report.versions["onnx"] is None or report.versions["onnxscript"] is None:
        report.notes.append(f"amix export --format onnx needs onnx and onnxscript: {install('onnx')}")
    return report


def installed_version(name: str) -> str | None:
    """Return the version of an installed distribution without importing it, None if it is not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def unmet_requirements() -> Iterator[Problem]:
    """Yield where the installed packages are not what amix declares; nothing when amix itself is not installed.

    An extra counts only where all of its packages are installed: Optimum's restricts the versions of others, which
    does not matter without Optimum.
    """
    try:
        from packaging.requirements import Requirement

        declared = [Requirement(line) for line in importlib.metadata.requires("attentionmix") or []]
        extras = importlib.metadata.metadata("attentionmix").get_all("Provides-Extra") or []
    except ImportError:  # PackageNotFoundError is one as well
        return
    needed = [each for each in declared if each.marker is None or each.marker.evaluate({"extra": ""})]
    wanted = list(needed)
    for extra in extras:
        own = [
            each
            for each in declared
            if each not in needed and each.marker is not None and each.marker.evaluate({"extra": extra})
        ]
        if all(installed_version(each.name) is not None for each in own):
            wanted += own
    seen: set[tuple[str, str]] = set()
    for requirement in wanted:
        version = installed_version(requirement.name)
        if (requirement.name, str(requirement.specifier)) in seen:
            continue
        seen.add((requirement.name, str(requirement.specifier)))
        if version is None:
            yield Problem(f"{requirement.name} is not installed.", f"pip install '{_bare(requirement)}'")
        elif not requirement.specifier.contains(version, prereleases=True):
            yield Problem(
                f"{requirement.name} {version} is installed; amix needs {requirement.specifier}.",
                f"pip install '{_bare(requirement)}'",
            )


def _bare(requirement: object) -> str:
    return str(requirement).partition(";")[0].strip()


def _examine_torch(report: Report) -> None:
    if report.versions["torch"] is None:
        return  # unmet_requirements has reported it
    try:
        import torch
    except (ImportError, OSError) as error:
        report.problems.append(
            Problem(
                f"torch cannot be loaded: {error}", "Install it again: pip install --force-reinstall torch"
            )
        )
        return
    report.cuda = torch.version.cuda
    report.gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]


def _examine_onnxruntime(report: Report) -> tuple[str | None, tuple[str, ...]]:
    """Return the CUDA that ONNX Runtime was built with, and those of its libraries that cannot be loaded."""
    cpu, gpu = report.versions["onnxruntime"], report.versions["onnxruntime-gpu"]
    if cpu and gpu:
        report.problems.append(
            Problem(
                f"onnxruntime {cpu} and onnxruntime-gpu {gpu} are both installed; they overwrite each "
                "other's files.",
                f"pip uninstall -y onnxruntime onnxruntime-gpu, then {install('gpu')} "
                "([cpu] instead on a machine without an NVIDIA GPU)",
            )
        )
    if not cpu and not gpu:
        report.notes.append(
            f"ONNX extractors need ONNX Runtime: {install('cpu')} ([gpu] instead with an NVIDIA GPU)"
        )
        return None, ()
    try:
        import onnxruntime

        built_with = cuda.runtime_cuda() if gpu else None
        missing = cuda.missing_libraries(built_with) if report.driver else ()
        compiled_in = onnxruntime.get_available_providers()
        report.providers = [name for name in PROVIDERS if name in compiled_in and _starts(name)]
    except (ImportError, OSError, AttributeError) as error:  # a half-overwritten package lacks attributes
        report.problems.append(
            Problem(
                f"onnxruntime cannot be loaded: {error}",
                f"pip uninstall -y onnxruntime onnxruntime-gpu, then {install('cpu', 'gpu')}",
            )
        )
        return None, ()
    return built_with, missing


def _starts(provider: str) -> bool:
    """Open a session: being compiled in does not mean that a provider's libraries load."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # a provider that cannot load is an answer here, not an error to print
    try:
        session = onnxruntime.InferenceSession(_IDENTITY, options, providers=[provider])
    except Exception:  # ONNX Runtime's exception types differ by build
        return False
    return bool(session.get_providers()[0] == provider)
