"""`--network` with hosts, and `--allow` for what a repository asks for."""

from __future__ import annotations

from pathlib import Path

from tests.cli.conftest import CommandLine, git

ASKS = 'setup = ["echo ready > ~/ready"]\nnetwork = ["pypi.org"]\n'


def test_a_refused_connection_is_shown_with_its_host(gitmachine: CommandLine) -> None:
    done = gitmachine("run", "--network", "pypi.org,*.example.org", "curl -sS https://evil.test/", exits=56)
    assert "network refused    evil.test:443: it is not among the allowed hosts" in done.stderr


def test_a_list_that_cannot_be_kept_is_refused_before_anything_starts(gitmachine: CommandLine) -> None:
    assert "metadata" in gitmachine("run", "--network", "169.254.169.254", "true", exits=2).stderr
    assert "stand alone" in gitmachine("run", "--network", "host,pypi.org", "true", exits=2).stderr
    assert "cannot be allowed" in gitmachine("run", "--allow", "everything", "true", exits=2).stderr


def test_what_a_repository_asks_for_is_shown_and_granted_by_word(gitmachine: CommandLine, checkout: Path) -> None:
    (checkout / "gitmachine.toml").write_text(ASKS)
    git(checkout, "add", "gitmachine.toml")
    git(checkout, "commit", "--quiet", "--message", "Ask")
    show = "ls ~; echo ${http_proxy-none}"
    asked = gitmachine("run", show)
    assert asked.stdout == "repo\nnone\n"
    assert "not granted: network pypi.org (to allow it: --allow network=pypi.org)" in asked.stderr
    assert "not granted: setup: echo ready > ~/ready (to allow it: --allow setup)" in asked.stderr
    granted = gitmachine("run", "--allow", "network=pypi.org", show, GITMACHINE_ALLOW="setup")
    assert granted.stdout == "repo\nhttp://127.0.0.1:3128\n"  # the option stands in place of the variable
    both = gitmachine("run", show, GITMACHINE_ALLOW="setup network=pypi.org")
    assert both.stdout == "ready\nrepo\nhttp://127.0.0.1:3128\n"
    assert "granted: network pypi.org" in both.stderr
    assert "gitmachine.toml, line 1, setupp" in _broken(gitmachine, checkout)
    gitmachine("run", "--allow", "ignore", "true")


def _broken(gitmachine: CommandLine, checkout: Path) -> str:
    (checkout / "gitmachine.toml").write_text(ASKS.replace("setup", "setupp"))
    git(checkout, "commit", "--quiet", "--all", "--message", "Mistake")
    return gitmachine("run", "true", exits=64).stderr
