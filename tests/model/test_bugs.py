"""Bugs that a payment engine must not have: put in on purpose, each is found by the model.

Each patch in `bugs/` goes into a copy of the sources, where random examples are played until one
goes wrong. What they find must be the bank's doing (a mismatch or a violation), never a crash of
the test itself.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
BUGS = sorted((HERE / "bugs").glob("*.patch"))
EXAMPLES_MAX = 1_000
HARD = {
    "capture-forgets-earlier-ones",
    "daily-limit-never-ends",
    "frozen-amount-can-be-spent",
    "merchant-closes-over-a-payment",
    "new-agreement-forgets-the-day",
    "over-capture-needs-no-funds",
    "refund-check-forgets-those-under-way",
    "release-keeps-the-rest-held",
}
"""Bugs that take a hundred examples and more to show themselves."""
FOUND = {"ModelMismatchError", "ViolationError"}


def test_bugs_are_seeded() -> None:
    assert len(BUGS) == 13


@pytest.mark.parametrize(
    "bug",
    [
        pytest.param(bug, marks=pytest.mark.long if bug.stem in HARD else (), id=bug.stem)
        for bug in BUGS
    ],
)
def test_seeded_bug_is_found(bug: Path, tmp_path: Path) -> None:
    found = _hunt(bug, tmp_path)
    assert found["error"] in FOUND, (
        f"{found['examples']} examples: {found['error']} {found['text']}"
    )


def test_stale_patch_is_reported(tmp_path: Path) -> None:
    """A patch whose lines are not in the sources, or are there twice, must not pass quietly."""
    patch = "Why.\n\n--- a/m.py\n+++ b/m.py\n@@ -1,2 +1,2 @@\n one\n-two\n+three\n"
    source = tmp_path / "m.py"
    source.write_text("zero\none\ntwo\n", "utf-8")
    _apply(patch, tmp_path)
    assert source.read_text("utf-8") == "zero\none\nthree\n"
    for stale in ("one\nthree\n", "one\ntwo\none\ntwo\n"):
        source.write_text(stale, "utf-8")
        with pytest.raises(AssertionError, match="stale"):
            _apply(patch, tmp_path)


def _hunt(bug: Path, folder: Path) -> dict[str, Any]:
    """Play examples on a copy of the sources with the bug in it; returns what was found."""
    ignored = shutil.ignore_patterns("__pycache__")
    for package in ("actors", "engine", "storage", "tests/model"):
        shutil.copytree(ROOT / package, folder / package, ignore=ignored)
    _apply(bug.read_text("utf-8"), folder)
    run = subprocess.run(
        [sys.executable, "-m", "tests.model.hunt", str(EXAMPLES_MAX)],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder)},
        check=False,
        timeout=300,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    found: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    assert Path(found["sources"]).is_relative_to(folder), "it ran the sources without the bug"
    return found


def _apply(patch: str, folder: Path) -> None:
    """Apply a unified diff by its text alone: line numbers shift while sources are polished.

    A hunk's old lines, context included, must occur exactly once; else the patch is stale.
    """
    for each in re.split(r"^--- a/", patch, flags=re.MULTILINE)[1:]:
        name, *hunks = re.split(r"^@@.*\n", each, flags=re.MULTILINE)
        source = folder / name.partition("\n")[0]
        text = source.read_text("utf-8")
        for hunk in hunks:
            lines = hunk.splitlines(keepends=True)
            old = "".join(line[1:] for line in lines if line[0] in " -")
            new = "".join(line[1:] for line in lines if line[0] in " +")
            count = text.count(old)
            assert count == 1, f"stale: found {count} times in {source.name}:\n{old}"
            text = text.replace(old, new)
        source.write_text(text, "utf-8")
