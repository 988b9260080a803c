"""What would stop CUDA from loading, and which package mends it: facts that are probed, and what follows from them."""

import contextlib
import ctypes
import io
from collections.abc import Iterator
from dataclasses import dataclass

from amix.engine.base.installing import install

# What ONNX Runtime's CUDA provider loads, as it names them for a major version of CUDA, and the packages that hold
# them. From CUDA 13 on their names have no suffix, but cuDNN's has.
_LIBRARIES = {
    "libcublasLt.so.{cuda}": "nvidia-cublas",
    "libcublas.so.{cuda}": "nvidia-cublas",
    "libcudart.so.{cuda}": "nvidia-cuda-runtime",
    "libcufft.so.{cufft}": "nvidia-cufft",
    "libcurand.so.10": "nvidia-curand",
    "libnvrtc.so.{cuda}": "nvidia-cuda-nvrtc",
    "libcudnn.so.9": "nvidia-cudnn",
}
_ONE_VERSION = "Install builds for one CUDA version: torch >= 2.11 and onnxruntime-gpu >= 1.28 (CUDA 13)."
_DRIVERS = {12: "525", 13: "580"}  # the first driver for a major version of CUDA


@dataclass(frozen=True)
class Problem:
    """Something that makes amix fail or run slowly, and what to do about it."""

    what: str
    remedy: str


@dataclass(frozen=True, kw_only=True)
class CudaFacts:
    """What was found of CUDA.

    driver: the newest CUDA that the NVIDIA driver serves, 13.0 or the like; None without a driver.
    torch: the CUDA that PyTorch was built with; None for a build without.  gpus: names of those that it sees.
    runtime, gpu_runtime: versions of the packages onnxruntime and onnxruntime-gpu; None where they are not installed.
    runtime_cuda: the CUDA that the installed ONNX Runtime was built with; None for a build without, or unknown.
    missing: libraries of CUDA that cannot be loaded.  starts: whether a session starts on a GPU.
    """

    driver: str | None = None
    torch: str | None = None
    gpus: tuple[str, ...] = ()
    runtime: str | None = None
    gpu_runtime: str | None = None
    runtime_cuda: str | None = None
    missing: tuple[str, ...] = ()
    starts: bool = False


def cuda_problems(found: CudaFacts) -> Iterator[Problem]:
    """Yield what stops a GPU that is there from being used; the first cause, where one follows from another."""
    if found.driver is None:
        return
    served, torch, runtime = _major(found.driver), _major(found.torch), _major(found.runtime_cuda)
    package = f"onnxruntime-gpu {found.gpu_runtime}"
    for name, needed in (("torch", torch), (package, runtime)):
        if served is not None and needed is not None and needed > served:
            yield Problem(
                f"the NVIDIA driver serves CUDA {found.driver} at most, but {name} is built for CUDA {needed}.",
                f"Update the driver (CUDA {needed} needs {_DRIVERS.get(needed, 'a newer one')} or newer); or, for "
                "CUDA 12: pip install 'torch<2.11' 'onnxruntime-gpu<1.27'",
            )
            return
    if found.gpu_runtime is None or found.starts:
        return
    if torch is not None and runtime is not None and torch != runtime:
        yield Problem(
            f"{package} is built for CUDA {found.runtime_cuda}, torch for CUDA {found.torch}; in one process only one "
            "of them finds its libraries.",
            _ONE_VERSION,
        )
    elif found.missing:
        packages = sorted({package_of(library, runtime) for library in found.missing})
        yield Problem(
            f"{package} cannot use the GPU: {', '.join(found.missing)} cannot be loaded.",
            f"pip install {' '.join(packages)}",
        )
    elif found.gpus:
        yield Problem(
            f"{package} cannot use the GPU, though torch can (CUDA {found.torch}).",
            _ONE_VERSION,
        )
    else:
        yield Problem(
            f"there is an NVIDIA driver (for CUDA {found.driver}), but {package} cannot use a GPU.",
            "Look with nvidia-smi whether there is one, and whether CUDA_VISIBLE_DEVICES hides it.",
        )


def cuda_notes(found: CudaFacts) -> Iterator[str]:
    """Yield what is not wrong, but may be unexpected."""
    if found.driver is None:
        if found.gpu_runtime is not None:
            yield (
                "onnxruntime-gpu is installed, but there is no NVIDIA driver (libcuda.so.1), so --device cuda cannot "
                "be used; cpu can"
            )
        return
    if found.gpu_runtime is None and found.runtime is not None:
        yield (
            "there is a GPU, but ONNX Runtime is the CPU build. For --device cuda: "
            f"pip uninstall -y onnxruntime, then {install('gpu')}"
        )
    if found.torch is None:
        yield (
            "there is an NVIDIA driver, but torch is a build without CUDA, so training runs on the CPU. For a build "
            "with: pip uninstall -y torch, then pip install torch"
        )
    elif not found.gpus:
        yield (
            "there is an NVIDIA driver, but torch sees no GPU. Look with nvidia-smi whether there is one, and whether "
            "CUDA_VISIBLE_DEVICES hides it"
        )


def driver_version() -> str | None:
    """Return the newest CUDA that the NVIDIA driver serves, as 13.0; None without a driver."""
    version = ctypes.c_int()
    try:
        if ctypes.CDLL("libcuda.so.1").cuDriverGetVersion(ctypes.byref(version)) != 0:
            return None
    except (OSError, AttributeError):
        return None
    return f"{version.value // 1000}.{version.value % 1000 // 10}"


def runtime_cuda() -> str | None:
    """Return the CUDA that the installed ONNX Runtime was built with; None for a build without, or unknown."""
    import onnxruntime

    return getattr(onnxruntime, "cuda_version", None) or None


def missing_libraries(cuda: str | None) -> tuple[str, ...]:
    """Return which libraries of a version of CUDA cannot be loaded, after ONNX Runtime has looked for them itself."""
    import onnxruntime

    major = _major(cuda)
    if major is None:
        return ()
    with contextlib.redirect_stdout(io.StringIO()):  # it prints what it does not find
        onnxruntime.preload_dlls()
    return tuple(name for name in _names(major) if not _loads(name))


def package_of(library: str, cuda: int | None) -> str:
    """Return the package on PyPI that holds a library, for a major version of CUDA."""
    by_stem = {pattern.partition(".so.")[0]: package for pattern, package in _LIBRARIES.items()}
    package = by_stem[library.partition(".so.")[0]]
    major = 13 if cuda is None else cuda
    return f"{package}-cu{major}" if package == "nvidia-cudnn" or major < 13 else package


def _names(major: int) -> list[str]:
    return [pattern.format(cuda=major, cufft=major - 1) for pattern in _LIBRARIES]


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def _major(version: str | None) -> int | None:
    first = (version or "").partition(".")[0]
    return int(first) if first.isdigit() else None
