"""A pytest plugin for CI (`-p tests.ci_no_skips`): what is skipped was not tested, so it fails.

The suite runs twice there, as root and as an ordinary user. A test that belongs to one of the two says so at the
beginning of its reason and is let off in the other.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest

TESTED_BY_THE_OTHER_RUN = ("only as root", "only root", "only as an ordinary user")


def _refuse(report: pytest.TestReport | pytest.CollectReport) -> None:
    if report.outcome != "skipped" or hasattr(report, "wasxfail"):
        return
    longrepr = report.longrepr
    reason = str(longrepr[2] if isinstance(longrepr, tuple) else longrepr).removeprefix("Skipped: ")
    if not reason.startswith(TESTED_BY_THE_OTHER_RUN):
        report.outcome = "failed"
        report.longrepr = f"skipped, which CI does not allow: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, Any, Any]:
    report = yield
    _refuse(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, Any, Any]:
    report = yield
    _refuse(report)
    return report
