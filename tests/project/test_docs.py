"""The documents: generated ones are not stale, links lead somewhere, completion and changelog work."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from support import ROOT

DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "benchmarks").glob("*.md")])
FRAGMENTS = sorted(p for p in (ROOT / "changelog.d").iterdir() if p.name != ".gitignore")
KINDS = ("added", "changed", "fixed")


def test_generated_documents_are_up_to_date() -> None:
    """`scripts/generate` would write nothing new."""
    result = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "generate.py"), "--check"], capture_output=True, text=True, check=False
    )

    assert (result.stdout, result.stderr, result.returncode) == ("", "", 0)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    """Each relative link or picture of a document is a file of the project."""
    text = re.sub(r"^```.*?^```", "", document.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    targets = [t for t in re.findall(r"\]\(([^)\s]+)\)", text) if not re.match(r"[a-z]+:|#", t)]
    dead = [t for t in targets if not (document.parent / t.partition("#")[0]).exists()]

    assert dead == []


def test_every_document_can_be_found_from_the_index() -> None:
    """docs/index.md links to each document and each decision."""
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    documents = [p.relative_to(ROOT / "docs") for p in (ROOT / "docs").rglob("*.md") if p.name != "index.md"]

    assert [str(d) for d in documents if f"({d})" not in index] == []


def test_decisions_have_the_same_shape() -> None:
    """Each decision has a number of its own, a date-free status, a reason and its consequences."""
    decisions = sorted((ROOT / "docs" / "decisions").glob("*.md"))

    assert [p.name[:4] for p in decisions] == [f"{n:04}" for n in range(1, len(decisions) + 1)]
    for path in decisions:
        headings = re.findall(r"^## (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
        assert headings == ["The question", "The decision", "Why", "What follows"], path.name


@pytest.mark.parametrize("fragment", FRAGMENTS, ids=lambda p: p.name)
def test_changelog_fragments_are_sentences(fragment: Path) -> None:
    """A fragment is NAME.KIND.md and holds at least one whole sentence."""
    assert re.fullmatch(rf"[a-z0-9+-]+\.({'|'.join(KINDS)})\.md", fragment.name)
    assert re.fullmatch(r"[A-Z`].*[.`]\n", fragment.read_text(encoding="utf-8"), re.DOTALL)


def test_the_changelog_can_be_built() -> None:
    """Towncrier makes the next section out of the fragments."""
    towncrier = Path(sys.executable).parent / "towncrier"
    result = subprocess.run(
        [str(towncrier), "build", "--draft", "--version", "0.0.0", "--date", "today"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert result.returncode == 0, result.stderr
    assert all(p.read_text(encoding="utf-8").split(".")[0].split("\n")[0][:40] in result.stdout for p in FRAGMENTS)


def test_the_manual_page_is_plain() -> None:
    """Groff takes other characters than ASCII for Latin-1, warns of them and leaves them out."""
    assert (ROOT / "docs/man/librespot-guard.1").read_text(encoding="utf-8").isascii()


def test_fish_shows_whole_descriptions() -> None:
    """A description with a comma in it is not cut there."""
    script = (ROOT / "docs/completion/librespot-guard.fish").read_text(encoding="utf-8")

    assert 'string split -m 1 "," $completion' in script


@pytest.mark.parametrize("program", ["librespot-guard", "lsguard"])
def test_bash_completes_commands(program: str, tmp_path: Path) -> None:
    """The completion script that ships completes a command of either name in a real bash."""
    wrapper = tmp_path / program
    wrapper.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m librespot_guard "$@"\n', encoding="utf-8")
    wrapper.chmod(0o755)
    script = (
        f"source {ROOT}/docs/completion/librespot-guard.bash; complete -p {program} >/dev/null || exit 9;"
        f"COMP_WORDS=({program} roll); COMP_CWORD=1; _librespot_guard_completion {program}; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    )
    env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT / "src")}

    result = subprocess.run(["bash", "-c", script], env=env, capture_output=True, text=True, check=False)

    assert (result.stdout, result.stderr, result.returncode) == ("rollback\n", "", 0)
