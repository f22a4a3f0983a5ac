"""What holds for every test: in CI a skip is a failure, and no test is judged by its speed.

What takes long is begun first (the marker ``first``): a process that begins its last minute when
the others have nothing left to do makes everybody wait.

A test that skips itself because a tool is missing looks green and proves nothing. On a
developer's machine that is a fair answer; in CI (the variable ``CI`` is set) it fails, unless it is
marked ``machine``: some kernels allow no mounts, and no installed package would change that.
"""

import logging
import os
from collections.abc import Generator

import hypothesis
import pytest

from tests.shards import SHARDS

# A deadline per example measures the machine's neighbours, not us. print_blob prints what
# reproduces a failure; Hypothesis prints its seed by itself.
hypothesis.settings.register_profile("house", hypothesis.settings(), deadline=None, print_blob=True)
hypothesis.settings.load_profile("house")

Report = pytest.TestReport | pytest.CollectReport


@pytest.fixture(autouse=True)
def _logs_as_before() -> Generator[None, None, None]:
    """Undo what a command has set up that was run here: a node logs to standard error."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    for each in [each for each in root.handlers if each not in handlers]:
        root.removeHandler(each)
    root.setLevel(level)


def _fail_if_skipped(report: Report) -> None:
    # An expected failure is reported as skipped too, but it did run.
    if os.environ.get("CI") and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, which counts as a failure in CI: {report.longrepr}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave tests about one shard by itself out of a run with several; put long ones first."""
    if SHARDS > 1:
        alone = [item for item in items if item.get_closest_marker("one_shard")]
        config.hook.pytest_deselected(items=alone)
        items[:] = [item for item in items if item not in alone]
    items.sort(key=lambda item: item.get_closest_marker("first") is None)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if not item.get_closest_marker("machine"):
        _fail_if_skipped(report)
    # Tests log text that is none, on purpose; between processes a report must be valid UTF-8.
    report.sections = [
        (name, text.encode("utf-8", "replace").decode()) for name, text in report.sections
    ]
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _fail_if_skipped(report)
    return report
