"""The order of the house: sizes, imports, docstrings, public names, and nothing of one machine in the text."""

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

from support import ROOT, SOURCE

MODULES = sorted(SOURCE.rglob("*.py"))
PACKAGES = sorted(p.parent for p in MODULES if p.name == "__init__.py")
LIMIT = 400


def dotted(path: Path) -> str:
    """The name under which a file is imported."""
    relative = path.relative_to(SOURCE.parent).with_suffix("")
    return ".".join(relative.parts).removesuffix(".__init__")


def tool(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a tool that is installed beside this Python, in the checkout."""
    program = Path(sys.executable).parent / name
    return subprocess.run(
        [str(program), *arguments], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120
    )


def test_no_file_is_too_long() -> None:
    """One idea for each file: none has more than 400 lines."""
    files = [f for folder in ("src", "tests", "scripts", "benchmarks") for f in (ROOT / folder).rglob("*.py")]
    long = {
        str(f.relative_to(ROOT)): n for f in files if (n := len(f.read_text(encoding="utf-8").splitlines())) > LIMIT
    }

    assert files
    assert long == {}


def test_imports_run_downwards() -> None:
    """The contracts of import-linter in pyproject.toml hold."""
    result = tool("lint-imports", "--no-cache")

    assert result.returncode == 0, result.stdout + result.stderr
    assert "0 broken" in result.stdout


def test_everything_public_has_a_docstring() -> None:
    """Interrogate finds a docstring on each module, public class and public function, those of the tests included."""
    result = tool("interrogate", "-vv", "src", "tests")
    missed = [line for line in result.stdout.splitlines() if "MISSED" in line]

    assert (missed, result.returncode) == ([], 0), result.stderr


@pytest.mark.parametrize("module", MODULES, ids=dotted)
def test_public_names_exist(module: Path) -> None:
    """What `__all__` names is there, once, in order; and a package names everything that it takes from its own modules."""
    tree = ast.parse(module.read_text(encoding="utf-8"))
    loaded = importlib.import_module(dotted(module)) if module.name != "__main__.py" else None
    names = list(getattr(loaded, "__all__", []))

    assert [n for n in names if not hasattr(loaded, n)] == []
    assert len(names) == len(set(names))
    if module.name == "__init__.py" and module.parent != SOURCE:
        own = dotted(module)
        taken = {
            alias.asname or alias.name
            for node in tree.body
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(own)
            for alias in node.names
        }
        assert {n for n in taken if not n.startswith("_")} <= set(names)


@pytest.mark.parametrize("package", PACKAGES, ids=lambda p: str(p.relative_to(SOURCE.parent)))
def test_a_room_says_what_it_is_for(package: Path) -> None:
    """The `__init__` of each package opens with a sentence."""
    docstring = ast.get_docstring(ast.parse((package / "__init__.py").read_text(encoding="utf-8"))) or ""

    assert re.match(r"\S.{20,}", docstring)


def test_every_source_file_is_text_of_the_project_only() -> None:
    """No file names a folder of the machine it was written on."""
    own = re.compile(r"(?<![\w.])/(?:work/(?:main|shared)|tmp/bg|root/\.pyenv)\b")
    folders = ("src", "docs", "scripts", "benchmarks", "changelog.d", "tests")
    files = [
        f for folder in folders for f in (ROOT / folder).rglob("*") if f.is_file() and "__pycache__" not in f.parts
    ]
    named = [
        str(f.relative_to(ROOT))
        for f in files
        if f != Path(__file__) and own.search(f.read_text(encoding="utf-8", errors="replace"))
    ]

    assert named == []


def test_the_package_needs_three_others() -> None:
    """The core depends on click, PyYAML and rich, and on nothing else."""
    import tomllib  # noqa: PLC0415 - one test reads it

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

    assert sorted(re.split(r"[><=~!]", d)[0] for d in project["dependencies"]) == [
        "PyYAML",
        "click",
        "rich",
    ]


def test_every_third_party_import_is_a_declared_dependency() -> None:
    """What the package imports is the standard library, itself, or one of its dependencies; cryptography only in the lab, oxidd in reach/bdd."""
    allowed = {"click", "yaml", "rich", "librespot_guard"}
    foreign = set()
    for module in MODULES:
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
            names = (
                [a.name for a in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else []
            )
            for name in (n.split(".")[0] for n in names):
                if (
                    name not in sys.stdlib_module_names
                    and name not in allowed
                    and not (name == "cryptography" and "lab" in module.parts)
                    and not (name == "oxidd" and "bdd" in module.parts)
                ):
                    foreign.add(f"{module.relative_to(SOURCE)}: {name}")

    assert foreign == set()
