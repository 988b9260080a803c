"""The package as its users meet it: what `import amix` offers, and what the wheel holds."""

import importlib.metadata
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

import amix

ROOT = Path(__file__).parents[1]


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """A wheel built from this tree, with nothing fetched."""
    out = tmp_path_factory.mktemp("wheel")
    command = ["wheel", ".", "--no-deps", "--no-build-isolation", "--no-index", "-q", "-w", str(out)]
    done = subprocess.run(
        [sys.executable, "-m", "pip", *command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = out.glob("*.whl")
    assert path.name == f"attentionmix-{amix.__version__}-py3-none-any.whl"
    return zipfile.ZipFile(path)


def test_the_public_names_are_exactly_these() -> None:
    assert sorted(amix.__all__) == [
        "AmixError",
        "AttentionMix",
        "NoMix",
        "Reading",
        "RelevanceDataset",
        "RelevanceLoader",
        "SSMix",
        "SentenceMixup",
        "TMix",
        "WordMixup",
        "__version__",
        "open_session",
        "soft_cross_entropy",
    ]


@pytest.mark.parametrize("name", amix.__all__)
def test_every_public_name_resolves_to_what_bears_it(name: str) -> None:
    value = getattr(amix, name)
    assert name == "__version__" or value.__name__ == name


def test_the_listing_holds_the_public_names_before_they_are_loaded() -> None:
    missing = python("import amix; print([name for name in amix.__all__ if name not in dir(amix)])")
    assert missing == "[]"


def test_a_star_import_brings_the_public_names() -> None:
    missing = python(
        "from amix import *\nimport amix\nprint([n for n in amix.__all__ if n not in globals()])"
    )
    assert missing == "[]"


def test_an_unknown_name_is_an_attribute_error_that_says_so() -> None:
    with pytest.raises(AttributeError, match="module 'amix' has no attribute 'NoSuchName'"):
        amix.NoSuchName  # noqa: B018  (looking it up is the test)


def test_importing_amix_loads_nothing_heavy() -> None:
    heavy = {"numpy", "torch", "transformers", "tokenizers", "datasets", "onnxruntime", "webdataset"}
    assert python(f"import sys, amix, amix.cli; print(*({heavy!r} & set(sys.modules)))") == ""


def test_reading_a_cache_imports_no_torch() -> None:
    code = "import sys, amix.loaders.stream.dataset, amix.study.shards; print('torch' in sys.modules)"
    assert python(code) == "False"


def test_what_is_installed_is_this_version() -> None:
    try:
        installed = importlib.metadata.version("attentionmix")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("amix runs from its folder here, it is not installed")
    assert installed == amix.__version__


def test_changelog_and_citation_name_this_version() -> None:
    newest = re.search(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert newest and newest[1] in (amix.__version__, "Unreleased")
    assert citation["version"] == amix.__version__


def test_the_versions_of_python_that_are_named_are_those_that_the_workflow_tests() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    workflow = yaml.safe_load((ROOT / ".github/workflows/tests.yml").read_text())
    language = "Programming Language :: Python :: "
    named = [each.removeprefix(language) for each in project["classifiers"] if each.startswith(language)]
    assert named == ["3", *workflow["jobs"]["tests"]["strategy"]["matrix"]["python"]]
    assert project["requires-python"] == f">={named[1]}"


def test_the_wheel_holds_amix_and_its_metadata_only(wheel: zipfile.ZipFile) -> None:
    tops = {name.split("/")[0] for name in wheel.namelist()}
    assert tops == {"amix", f"attentionmix-{amix.__version__}.dist-info"}


def test_the_wheel_holds_types_data_and_every_room_but_no_tests(wheel: zipfile.ZipFile) -> None:
    names = wheel.namelist()
    rooms = ("engine", "exporters", "loaders", "train", "study", "cli")
    for name in ("amix/py.typed", "amix/__main__.py", *(f"amix/{room}/__init__.py" for room in rooms)):
        assert name in names
    assert [name for name in names if name.startswith("amix/cli/demo_data/") and name.endswith(".jsonl")]
    strays = [name for name in names if "tests/" in name or "/test_" in name or "__pycache__" in name]
    assert strays == []


def test_the_wheel_holds_every_module_of_the_tree(wheel: zipfile.ZipFile) -> None:
    tree = {path.relative_to(ROOT).as_posix() for path in (ROOT / "amix").rglob("*.py")}
    assert tree == {name for name in wheel.namelist() if name.startswith("amix/") and name.endswith(".py")}


def test_the_wheel_brings_command_licence_and_extras(wheel: zipfile.ZipFile) -> None:
    info = f"attentionmix-{amix.__version__}.dist-info"
    assert "amix = amix.cli:main" in wheel.read(f"{info}/entry_points.txt").decode()
    assert "Apache License" in wheel.read(f"{info}/licenses/LICENSE").decode()
    metadata = wheel.read(f"{info}/METADATA").decode()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = {
        line.partition(": ")[2] for line in metadata.splitlines() if line.startswith("Provides-Extra: ")
    }
    assert extras == set(project["optional-dependencies"])


# List of tested versions -> the extras that are installed with it.
TESTED = {
    "constraints.txt": ("cpu", "onnx", "s3", "pos", "ray", "sentencepiece", "demo", "dev", "dev-s3"),
    "constraints-optimum.txt": ("cpu", "optimum", "sentencepiece", "demo", "dev"),
}


def pins(name: str) -> dict[str, str]:
    lines = (ROOT / name).read_text().splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


@pytest.mark.parametrize("name", TESTED)
def test_the_tested_versions_name_torch_exactly_and_hold_no_local_build(name: str) -> None:
    lines = (ROOT / name).read_text().splitlines()
    assert "torch" in pins(name)
    assert [line for line in lines if "+" in line or "/" in line or "@" in line] == []


@pytest.mark.parametrize(("name", "extras"), TESTED.items())
def test_every_declared_dependency_has_a_tested_version_that_it_allows(
    name: str, extras: tuple[str, ...]
) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = [*project["dependencies"]]
    for extra in extras:
        declared += project["optional-dependencies"][extra]
    tested = pins(name)
    for requirement in map(Requirement, declared):
        assert requirement.specifier.contains(tested[requirement.name.lower()]), f"{name}: {requirement}"


def test_every_extra_is_tested_but_the_one_that_needs_a_gpu() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    tested = {extra for extras in TESTED.values() for extra in extras}
    assert set(project["optional-dependencies"]) - tested == {"gpu"}
