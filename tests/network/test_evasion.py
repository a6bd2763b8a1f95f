"""Ways around an allow-list by addresses and names, tried on a host that the test makes in namespaces of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def told(session_dir: Path) -> dict[str, Any]:
    """What the requests of inside.py came to."""
    own = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    with tempfile.TemporaryDirectory(dir=session_dir) as directory:
        done = subprocess.run(
            ["unshare", *own, "--net", "--mount", sys.executable, "-m", "tests.network.inside", directory],
            capture_output=True,
            text=True,
            timeout=100,
        )
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    return said


UNREADABLE = {"http://2852039166/", "http://0xa9fea9fe/", "http://0251.0376.0251.0376/"}
PUBLIC = {"http://public.test/", "http://mixed.test/"}


@pytest.mark.parametrize(("way", "passed"), [("plain", "302"), ("tunnels", "200")])
def test_names_and_addresses_that_are_not_public_are_refused(told: dict[str, Any], way: str, passed: str) -> None:
    for url, answer in told[way]:
        status = answer.split()[way == "tunnels"]
        if url != "http://rebind.test/":
            # Some versions of curl turn the unusual spellings into the address themselves, and then it is that.
            assert status in ({passed} if url in PUBLIC else {"400", "403"} if url in UNREADABLE else {"403"}), url


def test_nothing_that_is_forbidden_was_ever_connected_to(told: dict[str, Any]) -> None:
    assert told["hits"] == []


def test_a_name_that_changes_its_address_is_connected_to_where_it_was_checked(told: dict[str, Any]) -> None:
    answers = [answer.split()[0] for url, answer in told["plain"] if url == "http://rebind.test/"]
    assert answers == ["302", "403"] * 3
    assert told["asked"].count("rebind.test") == 12


def test_a_redirection_to_a_forbidden_address_is_refused(told: dict[str, Any]) -> None:
    assert told["redirected"].startswith("403")


def test_only_allowed_names_are_asked_for(told: dict[str, Any]) -> None:
    assert "other.invalid" not in told["asked"]
    assert {name.partition(".")[2] for name in told["asked"]} == {"test"}


def test_each_refusal_is_told_with_its_reason(told: dict[str, Any]) -> None:
    reasons = {host: reason for host, _, reason in told["refused"]}
    assert "metadata" in reasons["metadata.test"]
    assert "metadata" in reasons["169.254.169.254"]
    assert "metadata" in reasons["mapped.test"]
    assert "loopback" in reasons["loopback.test"]
    assert "loopback" in reasons["six.test"]
    assert "private" in reasons["private.test"]
    assert "of this host" in reasons["ours.test"]
    assert "not among" in reasons["other.invalid"]
    assert "port 8080" in reasons["public.test"]
