"""The house keeps its promises: locks that are whole and name no registry, one test command,
a conftest that lets no skip pass in CI."""

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ["requirements.lock", "tools.lock", "fuzz.lock"]
REQUIREMENT = re.compile(r"([a-z0-9][a-z0-9-]*)==\S+( ; .+)? \\")
HASH = re.compile(r"    --hash=sha256:[0-9a-f]{64}( \\)?")


def _project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def _name(requirement: str) -> str:
    """The name of a requirement in the form that locks use (PEP 503)."""
    name = re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0]
    return re.sub(r"[-_.]+", "-", name).lower()


def _locked(lock: str) -> set[str]:
    lines = (ROOT / lock).read_text("utf-8").splitlines()
    return {match[1] for line in lines if (match := REQUIREMENT.fullmatch(line))}


@pytest.mark.parametrize("lock", LOCKS)
def test_lock_holds_only_versions_and_hashes(lock: str) -> None:
    """No address, path or option gets into a lock, and no package is without a hash."""
    lines = (ROOT / lock).read_text("utf-8").splitlines()
    for above, line in zip(["", *lines], [*lines, ""], strict=True):
        assert not line or REQUIREMENT.fullmatch(line) or HASH.fullmatch(line), line
        if REQUIREMENT.fullmatch(above):
            assert HASH.fullmatch(line), f"{above} has no hash"


def _wanted() -> Iterator[tuple[str, str]]:
    project = _project()
    groups = project["dependency-groups"]
    installed = [
        *project["project"]["dependencies"],
        *chain.from_iterable(project["project"]["optional-dependencies"].values()),
        *groups["dev"],
        # Setup builds the project without isolation, so what builds it is locked as well.
        *project["build-system"]["requires"],
    ]
    yield from ((requirement, "requirements.lock") for requirement in installed)
    for group in ("tools", "fuzz"):
        yield from ((requirement, f"{group}.lock") for requirement in groups[group])


@pytest.mark.parametrize(("requirement", "lock"), sorted(set(_wanted())))
def test_requirement_of_pyproject_is_locked(requirement: str, lock: str) -> None:
    assert _name(requirement) in _locked(lock), "run ./just lock"


def test_ci_and_readme_share_one_test_command() -> None:
    """CI proves what the README tells a newcomer to type."""
    assert "./just test" in (ROOT / "README.md").read_text("utf-8")
    commands = (ROOT / ".ci/run").read_text("utf-8").splitlines()
    assert commands[-1] == "./just test"


def test_security_page_names_tests_that_exist() -> None:
    """Each attack has its test: a file, or tests in the file that was named last in its cell."""
    page = (ROOT / "docs/SECURITY.md").read_text("utf-8")
    cells = re.findall(r"^\|.*\| (.+) \|$", page, re.MULTILINE)
    files: list[Path] = []
    named = 0
    for cell in cells:
        for name in re.findall(r"`([\w/.]+)`", cell):
            if name.endswith(".py"):
                files = [ROOT / name]
                assert files[0].is_file(), cell
            elif name.startswith("test_"):
                files = list((ROOT / "tests").rglob(f"{name}.py"))
                assert files, cell
            else:
                defined = re.compile(rf"^(async )?def test_{name}\(", re.MULTILINE)
                assert any(defined.search(file.read_text("utf-8")) for file in files), cell
                named += 1
    assert named > len(cells) / 2


@pytest.mark.parametrize("script", ["just", ".ci/run"])
def test_script_is_executable(script: str) -> None:
    assert os.access(ROOT / script, os.X_OK)


def test_skip_in_ci_fails(tmp_path: Path) -> None:
    """A skip, at whatever stage, fails in CI and only there; an expected failure never does, nor
    what the machine does not allow. The tests are text: none of this suite is skipped by them."""
    bodies = {
        "call": "def test_it(): pytest.skip('no tool')",
        "setup": "@pytest.mark.skipif(True, reason='no tool')\ndef test_it(): pass",
        "import": "no_tool = pytest.importorskip('no_such_tool')",
        "xfail": "@pytest.mark.xfail\ndef test_it(): assert False",
        "machine": "@pytest.mark.machine\ndef test_it(): pytest.skip('no mounts')",
    }
    for stage, body in bodies.items():
        (tmp_path / f"test_{stage}.py").write_text(f"import pytest\n\n{body}\n", "utf-8")
    conftest = (ROOT / "tests/conftest.py").read_text("utf-8")
    (tmp_path / "conftest.py").write_text(conftest, "utf-8")
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = machine\n", "utf-8")

    def last_line(**environment: str) -> str:
        command = [sys.executable, "-m", "pytest", "-q", "--continue-on-collection-errors"]
        inherited = {key: value for key, value in os.environ.items() if key != "CI"}
        run = subprocess.run(
            command,
            cwd=tmp_path,
            env=inherited | environment,
            check=False,
            capture_output=True,
            text=True,
        )
        return run.stdout.splitlines()[-1]

    assert last_line().startswith("4 skipped, 1 xfailed in")
    assert last_line(CI="true").startswith("1 failed, 1 skipped, 1 xfailed, 2 errors in")
