"""The command that installs an extra: true for a clone, a wheel, a repository and a release."""

import json
import shlex
from pathlib import Path

import pytest

from amix.engine.base import installing
from amix.engine.base.installing import install


def installed(site: Path, origin: dict[str, object] | None) -> None:
    """Have `site` look like an installation; origin: what pip wrote about where it came from (PEP 610)."""
    info = site / "attentionmix-9.9.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: attentionmix\nVersion: 9.9\n")
    if origin is not None:
        (info / "direct_url.json").write_text(json.dumps(origin))


@pytest.mark.parametrize(
    ("origin", "wanted"),
    [
        (None, "attentionmix[onnx]"),
        ({"url": "file:///my%20work/amix", "dir_info": {}}, "/my work/amix[onnx]"),
        ({"url": "https://host/a-9.9-py3-none-any.whl", "archive_info": {}}, "attentionmix[onnx] @ https://"),
        (
            {"url": "https://host/amix.git", "vcs_info": {"vcs": "git", "commit_id": "0"}},
            "attentionmix[onnx] @ git+https://host/amix.git",
        ),
    ],
)
def test_an_extra_comes_from_where_amix_came_from(
    origin: dict[str, object] | None, wanted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(tmp_path, origin)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(installing, "_ROOT", tmp_path)  # not a clone
    command, verb, requirement = shlex.split(install("onnx"))
    assert (command, verb) == ("pip", "install")
    assert requirement.startswith(wanted)


def test_a_wheel_on_disk_is_named_as_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = tmp_path / "attentionmix-9.9-py3-none-any.whl"
    wheel.touch()
    installed(tmp_path, {"url": wheel.as_uri(), "archive_info": {}})
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(installing, "_ROOT", tmp_path)
    assert shlex.split(install("onnx"))[2:] == [f"attentionmix[onnx] @ {wheel.as_uri()}"]


def test_a_clone_that_runs_is_installed_again_in_place() -> None:
    root = Path(installing.__file__).parents[3]
    assert shlex.split(install("onnx")) == ["pip", "install", "-e", f"{root}[onnx]"]
    assert install("cpu", "gpu").endswith(" (or [gpu], never both)")
