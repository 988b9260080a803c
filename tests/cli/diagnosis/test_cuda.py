"""What `amix doctor` says of CUDA, for machines that are not this one."""

import ctypes
import re
from dataclasses import replace
from typing import Any

import pytest

from amix.cli.diagnosis import cuda, examination
from amix.cli.diagnosis.cuda import CudaFacts, cuda_notes, cuda_problems, missing_libraries, package_of

SOUND = CudaFacts(
    driver="13.0",
    torch="13.0",
    gpus=("NVIDIA H100",),
    gpu_runtime="1.31.1",
    runtime_cuda="13.0",
    starts=True,
)
BARE = CudaFacts(runtime="1.32.0")  # no GPU at all


def test_nothing_is_wrong_with_a_sound_gpu_nor_without_one() -> None:
    for found in (SOUND, BARE):
        assert not list(cuda_problems(found))
        assert not list(cuda_notes(found))


@pytest.mark.parametrize(
    ("changed", "what", "remedy"),
    [
        (
            {"driver": "12.4", "starts": False, "gpus": (), "missing": ("libcudnn.so.9",)},
            "serves CUDA 12.4 at most, but torch is built for CUDA 13",
            r"Update the driver \(CUDA 13 needs 580 or newer\).*'torch<2.11' 'onnxruntime-gpu<1.27'",
        ),
        (
            {"driver": "12.8", "torch": "12.8", "starts": False},
            "but onnxruntime-gpu 1.31.1 is built for CUDA 13",
            "Update the driver",
        ),
        (
            {"torch": "12.8", "starts": False},
            r"onnxruntime-gpu 1\.31\.1 is built for CUDA 13\.0, torch for CUDA 12\.8",
            "torch >= 2.11 and onnxruntime-gpu >= 1.28",
        ),
        (
            {"torch": None, "gpus": (), "starts": False, "missing": ("libcudnn.so.9", "libcublas.so.13")},
            r"libcudnn\.so\.9, libcublas\.so\.13 cannot be loaded",
            "^pip install nvidia-cublas nvidia-cudnn-cu13$",
        ),
        (
            {
                "torch": None,
                "gpus": (),
                "driver": "12.8",
                "runtime_cuda": "12.8",
                "starts": False,
                "missing": ("libcublasLt.so.12", "libcublas.so.12", "libcudnn.so.9"),
            },
            r"libcublasLt\.so\.12",
            "^pip install nvidia-cublas-cu12 nvidia-cudnn-cu12$",
        ),
        ({"starts": False}, r"cannot use the GPU, though torch can \(CUDA 13\.0\)", "builds for one CUDA"),
        ({"starts": False, "gpus": ()}, "there is an NVIDIA driver", "CUDA_VISIBLE_DEVICES"),
    ],
)
def test_each_cause_is_named_once_with_what_mends_it(changed: dict[str, Any], what: str, remedy: str) -> None:
    (problem,) = cuda_problems(replace(SOUND, **changed))
    assert re.search(what, problem.what)
    assert re.search(remedy, problem.remedy)


@pytest.mark.parametrize(
    ("found", "note"),
    [
        (
            replace(SOUND, gpu_runtime=None, runtime="1.32.0", runtime_cuda=None),
            "ONNX Runtime is the CPU build",
        ),
        (replace(SOUND, torch=None, gpus=()), "torch is a build without CUDA"),
        (replace(SOUND, gpus=()), "torch sees no GPU"),
        (replace(BARE, runtime=None, gpu_runtime="1.31.1"), "there is no NVIDIA driver"),
    ],
)
def test_what_may_be_meant_is_a_note(found: CudaFacts, note: str) -> None:
    assert any(note in line for line in cuda_notes(found))


def test_a_library_that_does_not_load_is_found_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    asked: list[str] = []

    def loaded(name: str) -> object:
        asked.append(name)
        if name.startswith(("libcudnn", "libcufft")):
            raise OSError(f"{name}: cannot open shared object file")
        return object()

    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: print("libcudnn is not there"))  # noqa: T201  as it does
    monkeypatch.setattr(ctypes, "CDLL", loaded)
    assert missing_libraries("13.0") == ("libcufft.so.12", "libcudnn.so.9")
    assert missing_libraries("12.8") == ("libcufft.so.11", "libcudnn.so.9")
    assert {"libcublasLt.so.13", "libcublas.so.12", "libcurand.so.10", "libcudart.so.13"} <= set(asked)
    assert missing_libraries(None) == ()
    assert [package_of(name, 13) for name in ("libcurand.so.10", "libcudnn.so.9")] == [
        "nvidia-curand",
        "nvidia-cudnn-cu13",
    ]


def test_the_driver_says_which_cuda_it_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    class Driver:
        def __init__(self, name: str) -> None:
            assert name == "libcuda.so.1"

        def cuDriverGetVersion(self, version: Any) -> int:
            version._obj.value = 13010
            return 0

    monkeypatch.setattr(ctypes, "CDLL", Driver)
    assert cuda.driver_version() == "13.1"


def test_the_report_holds_what_was_probed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    installed = examination.installed_version

    def version(name: str) -> str | None:
        return {"onnxruntime": None, "onnxruntime-gpu": "1.31.1"}.get(name, installed(name))

    monkeypatch.setattr(examination, "installed_version", version)
    monkeypatch.setattr(cuda, "driver_version", lambda: "13.0")
    monkeypatch.setattr(cuda, "runtime_cuda", lambda: "13.0")
    monkeypatch.setattr(cuda, "missing_libraries", lambda built_with: ("libcudnn.so.9",))
    report = examination.examine()
    assert "pip install nvidia-cudnn-cu13" in [problem.remedy for problem in report.problems]
    assert report.as_dict()["driver_cuda"] == "13.0"
    assert report.facts()["NVIDIA driver"] == "for CUDA up to 13.0"
    assert capsys.readouterr() == ("", "")
