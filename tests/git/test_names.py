"""Names of sessions, judged as the real git judges them."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime

import pytest

from gitmachine.errors import ConfigurationError, InvalidSessionName
from gitmachine.git.names import check_session_name, check_session_ref, new_session_name, ref_fault

NAMES = [
    "fix/login", "a", "a;id", "$(id)", "a`id`", "a'b", 'a"b', "a|b", "a&b", "a b", "a\tb", "a\nb", "a~b", "a^b", "a:b",
    "a?b", "a*b", "a[b", "a]b", "a\\b", "a\x7fb", "a..b", "a.b", "a.", ".a", "a/.b", "a/b.", "a.lock", "a.lock/b",
    "a/b.lock", "a.lockx", "/a", "a/", "a//b", "a@{b", "a@b", "@", "{a}", "ä", "日本", "-a", "a/-b", "a\x01b", "", "/",
    "..",
    ".", "a/./b", "x" * 150, "a\u200cb", "HEAD", "refs/heads/a", "a{", "a@{", "lock", ".lock", "a#b", "a%b", "a!b", "~",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_ref_is_judged_as_git_check_ref_format_does(name: str) -> None:
    answer = subprocess.run(["git", "check-ref-format", f"refs/heads/{name}"], check=False)
    assert (ref_fault(name) is None) == (answer.returncode == 0), ref_fault(name)


@pytest.mark.parametrize("name", ["fix/login", "a;id", "$(id)", "日本", "a/-b", "gitmachine/2026-01-01-abcdef"])
def test_a_valid_name_comes_back_as_it_is(name: str) -> None:
    assert check_session_name(name) == name


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("", "empty"), ("-rf", "starts with '-'"), ("HEAD", "git itself"), ("@", "'@'"), ("a b", "' '"),
        ("x" * 201, "201 bytes"), ("ä" * 101, "202 bytes"), ("a.lock", "'.lock'"), ("a..b", "'..'"),
        ("refs/heads/a", "git itself"), ("\udcff", "Unicode"),
    ],
)  # fmt: skip
def test_an_invalid_name_is_refused_with_its_rule(name: str, rule: str) -> None:
    with pytest.raises(InvalidSessionName, match="cannot be a session's name") as caught:
        check_session_name(name)
    assert rule in str(caught.value)


def test_new_names_are_valid_and_differ() -> None:
    now = datetime(2026, 3, 4, tzinfo=UTC)
    names = {check_session_name(new_session_name(now)) for _ in range(50)}
    assert len(names) == 50
    assert all(name.startswith("gitmachine/2026-03-04-") and len(name) == 28 for name in names)


@pytest.mark.parametrize(
    "ref",
    ["refs/heads/main", "refs/gitmachine/sessions/", "refs/gitmachine/sessions/x", "refs/gitmachine/sessions/x/..",
     "refs/gitmachine/sessions/../../heads/main", "refs/gitmachine/sessions/x/a\nb", "-d"],
)  # fmt: skip
def test_a_ref_outside_of_a_session_is_refused(ref: str) -> None:
    with pytest.raises(ConfigurationError):
        check_session_ref(ref)
