"""What a user names as repository, and where the credential goes."""

from __future__ import annotations

import base64
from pathlib import Path
from urllib.parse import quote

import pytest

from gitmachine.errors import ConfigurationError
from gitmachine.git.remote import Credential, parse_remote, redact

SECRET = "s3cr:et/+value=="


@pytest.fixture(autouse=True)
def no_tokens_around(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GITMACHINE_TOKEN", "GH_TOKEN", "GITHUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("given", "url", "scheme", "host"),
    [
        ("https://github.com/a/b.git", "https://github.com/a/b.git", "https", "github.com"),
        ("https://GitHub.com/a/b/", "https://github.com/a/b", "https", "github.com"),
        ("http://127.0.0.1:8080/x", "http://127.0.0.1:8080/x", "http", "127.0.0.1"),
        ("https://[::1]:8/x", "https://[::1]:8/x", "https", "::1"),
        ("git@github.com:a/b.git", "git@github.com:a/b.git", "ssh", "github.com"),
        ("ssh://git@example.com:22/a", "ssh://git@example.com:22/a", "ssh", "example.com"),
        ("/srv/repo", "/srv/repo", "file", None),
        ("file:///srv/re%20po", "/srv/re po", "file", None),
    ],
)
def test_each_form_is_understood(given: str, url: str, scheme: str, host: str | None) -> None:
    remote = parse_remote(given)
    assert (remote.url, remote.scheme, remote.host, remote.credential) == (url, scheme, host, None)


def test_a_relative_path_and_a_home_become_absolute() -> None:
    assert parse_remote("some/dir").url == str(Path("some/dir").absolute())
    assert parse_remote("~/x").url == str(Path("~/x").expanduser())


def test_a_password_in_the_url_becomes_the_credential() -> None:
    remote = parse_remote(f"https://alice:{quote(SECRET, safe='')}@example.com/a")
    assert remote.url == "https://example.com/a"
    assert remote.credential == Credential("alice", SECRET)


@pytest.mark.parametrize("userinfo", ["ghp_abcdef", "ghp_abcdef:x-oauth-basic", "x-access-token:ghp_abcdef"])
def test_a_token_in_the_url_is_found_wherever_it_stands(userinfo: str) -> None:
    credential = parse_remote(f"https://{userinfo}@github.com/a/b").credential
    assert credential == Credential("x-access-token", "ghp_abcdef")


@pytest.mark.parametrize(
    ("host", "username"),
    [("github.com", "x-access-token"), ("gitlab.example.com", "oauth2"), ("bitbucket.org", "x-token-auth")],
)
def test_a_token_gets_the_user_name_that_its_service_wants(host: str, username: str) -> None:
    assert parse_remote(f"https://{host}/a", "tok").credential == Credential(username, "tok")


def test_a_given_token_comes_before_the_url_and_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITMACHINE_TOKEN", "from-environment")
    assert parse_remote("https://alice@h.org/a", "given").credential == Credential("alice", "given")
    assert parse_remote("https://alice:url@h.org/a").credential == Credential("alice", "url")
    assert parse_remote("https://alice@h.org/a").credential == Credential("alice", "from-environment")
    assert parse_remote("/a").credential is None


@pytest.mark.parametrize(
    "given",
    ["", "  ", "-x", "--upload-pack=id", "ext::sh -c id", "fd::17", "ftp://h/a", "javascript://x", "https:///a", "a\nb",
     "https://h/a\x00", "https://h:99999/a", "https://h/a?x=1", "https://h/a#x", "ssh://-oProxyCommand=id/x",
     "ssh://-a@h/x", "-oProxyCommand=id:x", "git@-x:y", "host:-x"],
)  # fmt: skip
def test_what_is_no_repository_is_refused(given: str) -> None:
    with pytest.raises(ConfigurationError):
        parse_remote(given)


@pytest.mark.parametrize("given", ["git@github.com:a/b", "ssh://h/x", "/srv/x", "file:///srv/x"])
def test_a_token_that_could_not_be_used_is_refused(given: str) -> None:
    with pytest.raises(ConfigurationError, match="leave the token out") as caught:
        parse_remote(given, SECRET)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("token", ["", " x", "x\n", "a\x00b"])
def test_a_malformed_token_is_refused(token: str) -> None:
    with pytest.raises(ConfigurationError, match="token"):
        parse_remote("https://h/a", token)


def test_no_error_and_no_repr_shows_the_token() -> None:
    remote = parse_remote("https://h.org/a", SECRET)
    assert SECRET not in repr(remote)
    for bad in (f"https://u:{SECRET}@h:99999/a", f"https://u:{quote(SECRET, safe='')}@/a", "foo://u:hunter2hunter2@h/"):
        with pytest.raises(ConfigurationError) as caught:
            parse_remote(bad)
        assert "hunter2" not in str(caught.value)
        assert "s3cr" not in str(caught.value)


def test_redaction_finds_every_spelling() -> None:
    credential = Credential("alice", SECRET)
    pair = base64.b64encode(f"alice:{SECRET}".encode()).decode()
    text = f"1 {SECRET} 2 {quote(SECRET, safe='')} 3 {pair} 4 {base64.b64encode(SECRET.encode()).decode()} 5"
    assert redact(text, credential.forms()) == "1 [redacted] 2 [redacted] 3 [redacted] 4 [redacted] 5"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("fatal: https://u:p@h/x", "fatal: https://[redacted]@h/x"),
        ("'http://tok@h/x' https://h/y@z", "'http://[redacted]@h/x' https://h/y@z"),
        ("ssh://git@h/x", "ssh://git@h/x"),
        ("ssh://git:pw@h/x", "ssh://[redacted]@h/x"),
    ],
)
def test_redaction_strips_userinfo_from_urls(text: str, shown: str) -> None:
    assert redact(text, ()) == shown
