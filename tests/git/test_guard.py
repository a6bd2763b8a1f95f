"""The guard: what stays out of automatic commits, and which pushes wait."""

from __future__ import annotations

import base64
import importlib

import pytest

from gitmachine.git.guard import Guard
from gitmachine.git.token_rules import LIBRARY
from gitmachine.git.vault import Vault
from tests.support.git_server import Repository
from tests.support.maker import Maker

TIP = "refs/gitmachine/sessions/s1/tip"
SECRET = "correct-horse/battery"
KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\n" + "b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAA\n" * 3


async def withheld(
    vault: Vault, maker: Maker, files: dict[str, str | bytes], guard: Guard | None = None
) -> dict[str, str]:
    """Reasons by path for a commit of those files."""
    old = maker.git("rev-parse", "HEAD")
    tip = maker.commit(files)
    await vault.receive(maker.pack(tip), {TIP: tip})
    found = await (guard or Guard()).inspect(vault, await vault.changes(old, tip), [SECRET, "short", ""])
    return {item.path.decode(): item.reason for item in found}


async def test_files_that_usually_hold_secrets_are_withheld_by_name(vault: Vault, maker: Maker) -> None:
    names = [".env", "web/.env.production", "server.PEM", ".ssh/id_rsa", "a/id_ed25519", ".netrc", "key.p12"]
    fine = [".env.example", ".env.sample", "web/.env.template", "environment.py", "id_rsa.pub", "src/pem.py"]
    assert set(await withheld(vault, maker, dict.fromkeys([*names, *fine], "x=1"))) == set(names)


@pytest.mark.parametrize(
    "content",
    [
        KEY,
        KEY.replace("\n", "\r\n"),
        f'{{"private_key": "{KEY[:140]}"}}'.replace("\n", "\\n"),
        "x" * 300_000 + "\n" + KEY + "y" * 300_000,
        "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\n" + "Ab1+" * 16,
        "-----BEGIN PGP PRIVATE KEY BLOCK-----\n\n" + "Ab1+" * 16,
        "PuTTY-User-Key-File-3: ssh-ed25519\n",
    ],
)
async def test_a_private_key_is_withheld_wherever_it_stands(vault: Vault, maker: Maker, content: str) -> None:
    assert await withheld(vault, maker, {"notes.txt": content, "other.txt": "fine"}) == {
        "notes.txt": "it contains a private key"
    }


@pytest.mark.parametrize(
    "content",
    [
        SECRET,
        f"token = {SECRET}\n",
        "correct-horse%2Fbattery",
        base64.b64encode(SECRET.encode()).decode(),
        b"\0\xff" * 131_000 + SECRET.encode(),
        b"x" * (256 * 1024 - 30) + SECRET.encode() + b"x" * 300_000,
    ],
)
async def test_a_value_that_the_session_was_given_is_withheld(vault: Vault, maker: Maker, content: str | bytes) -> None:
    found = await withheld(vault, maker, {"log.txt": content, "other.txt": "short"})
    assert list(found) == ["log.txt"]
    assert SECRET not in found["log.txt"]


# Put together here, so that nobody's search for secrets stops at this file.
TOKENS = {
    "aws": "AK" + "IA" + "Q3EGRZ7LP2WV5XNB",
    "azure": "Account" + "Key=" + "aB3dE5gH7jK9mN1p" * 5 + "qR5tU8w=",
    "github": "gh" + "p_" + "aB3dE5gH7jK9mN1pQ3sT5vW7xY9zA1bC3dE5",
    "github_fine_grained": "github"
    + "_pat_"
    + "aB3dE5gH7jK9mN1pQ3sT5v"
    + "_"
    + "aB3dE5gH7jK9mN1pQ3sT5vW7xY9zA1bC3dE5f"
    + "G" * 22,
    "gitlab": "gl" + "pat-" + "aB3dE5gH7jK9mN1pQ3sT",
    "npm": "//registry.example.com/:_auth" + "Token=npm" + "_aB3dE5gH7jK9mN1p",
    "pypi": "pypi-" + "AgEIcHlwaS5vcmc" + "aB3dE5gH7jK9" * 7,
    "slack": "xo" + "xb-" + "123456789012-abcdef3hijkl",
    "stripe": "sk" + "_live_" + "aB3dE5gH7jK9mN1pQ3sT5vW7",
    "anthropic": "sk" + "-ant-api03-" + "aB3dE5gH7j" * 9,
}


PLACEHOLDERS = {
    "github": "gh" + "p_" + "x" * 36,
    "aws": "AK" + "IAIOSFODNN7EXAMPLE",
    "npm": "//registry.example.com/:_auth" + "Token=${NPM_TOKEN}",
}


async def test_an_access_token_is_withheld_by_its_form_and_a_placeholder_is_none(vault: Vault, maker: Maker) -> None:
    files = {f"{kind}.py": f'login("{token}")\n' for kind, token in TOKENS.items()}
    fine = {f"{kind}.md": f"login with {token}\n" for kind, token in PLACEHOLDERS.items()}
    assert await withheld(vault, maker, {**files, **fine}) == dict.fromkeys(files, "it contains an access token")


def test_the_forms_of_tokens_are_those_of_detect_secrets() -> None:
    for rule in LIBRARY:
        module = importlib.import_module(f"detect_secrets.plugins.{rule.module}")
        (detector,) = [
            kind for kind in vars(module).values() if isinstance(kind, type) and kind.__module__ == module.__name__
        ]
        theirs = {pattern.pattern for pattern in vars(detector)["denylist"]}
        assert set(rule.patterns) <= theirs, rule.module


async def test_what_only_talks_about_keys_is_fine(vault: Vault, maker: Maker) -> None:
    files: dict[str, str | bytes] = {
        "a.md": "Files that start with -----BEGIN PRIVATE KEY----- are private.\n",
        "b.pub": "-----BEGIN PUBLIC KEY-----\n" + "Ab1+" * 16,
        "c.crt": "-----BEGIN CERTIFICATE-----\n" + "Ab1+" * 16,
    }
    assert await withheld(vault, maker, files) == {}


async def test_what_was_tracked_before_is_not_withheld_again(vault: Vault, maker: Maker) -> None:
    maker.commit({".env": "a=1", "fixture.txt": KEY})
    assert await withheld(vault, maker, {".env": "a=2", "fixture.txt": KEY + "more\n"}) == {}
    assert list(await withheld(vault, maker, {".env": f"a={SECRET}"})) == [".env"]


async def test_files_above_the_limit_are_withheld(vault: Vault, maker: Maker) -> None:
    found = await withheld(vault, maker, {"big": "x" * 1001, "fit": "x" * 1000}, Guard(max_file_bytes=1000))
    assert found == {"big": "it has 1001 bytes, the limit is 1000"}


async def test_deleted_files_links_and_submodules_are_no_trouble(vault: Vault, maker: Maker) -> None:
    maker.commit({"gone.pem": "x", "fine": "x"})
    head = maker.git("rev-parse", "HEAD")
    maker.git("rm", "-q", "gone.pem")
    maker.git("update-index", "--add", "--cacheinfo", f"160000,{head},sub")
    (maker.path / "link").symlink_to("/etc/passwd")
    maker.git("add", "link")
    maker.git("commit", "-qm", "x")
    tip = maker.git("rev-parse", "HEAD")
    await vault.receive(maker.pack(tip), {TIP: tip})
    assert await Guard().inspect(vault, await vault.changes(head, tip), [SECRET]) == ()


async def test_a_guard_that_is_off_withholds_and_holds_nothing(vault: Vault, maker: Maker) -> None:
    files: dict[str, str | bytes] = {".env": SECRET, "k": KEY, ".github/workflows/x.yml": "on: push"}
    assert await withheld(vault, maker, files, Guard.off()) == {}
    tip = maker.git("rev-parse", "HEAD")
    assert await Guard.off().held(vault, None, tip, (), [SECRET]) == ()


# --- held pushes ------------------------------------------------------------------------------------------


async def held(vault: Vault, maker: Maker, old: str | None, *allow: str, guard: Guard | None = None) -> tuple[str, ...]:
    tip = maker.git("rev-parse", "HEAD")
    await vault.receive(maker.pack(tip), {TIP: tip})
    return await (guard or Guard()).held(vault, old, tip, allow, [SECRET])


async def test_ci_definitions_hold_a_push(vault: Vault, maker: Maker) -> None:
    paths = [".github/workflows/ci.yml", ".gitlab-ci.yml", "Jenkinsfile", ".circleci/config.yml", ".GitHub/Workflows/b"]
    maker.commit(dict.fromkeys([*paths, "src/Jenkinsfile", "github/workflows/x"], "x"))
    assert await held(vault, maker, None) == tuple(sorted(paths))
    assert await held(vault, maker, None, ".github", ".G*", "Jenkinsfile", ".circleci/") == (".gitlab-ci.yml",)


async def test_a_commit_in_the_middle_holds_too(vault: Vault, maker: Maker) -> None:
    maker.commit({"Jenkinsfile": "evil"})
    maker.git("rm", "-q", "Jenkinsfile")
    maker.git("commit", "-qm", "as if nothing had been")
    assert await held(vault, maker, None) == ("Jenkinsfile",)


async def test_deleting_or_moving_something_to_a_ci_path_holds(vault: Vault, maker: Maker, project: Repository) -> None:
    project.commit("main", {"Jenkinsfile": "x", "doc/ci.yml": "y"})
    await vault.fetch()
    maker.git("pull", "-q")
    maker.git("rm", "-q", "Jenkinsfile")
    (maker.path / ".github/workflows").mkdir(parents=True)
    maker.git("mv", "doc/ci.yml", ".github/workflows/ci.yml")
    maker.git("commit", "-qm", "x")
    assert await held(vault, maker, None) == (".github/workflows/ci.yml", "Jenkinsfile")


async def test_merging_what_the_remote_has_holds_nothing(vault: Vault, maker: Maker, project: Repository) -> None:
    maker.commit({"mine": "1"})
    project.commit("main", {".github/workflows/ci.yml": "the remote's own"})
    await vault.fetch()
    maker.git("fetch", "-q")
    maker.git("merge", "-q", "--no-edit", "origin/main")
    assert await held(vault, maker, None) == ()


async def test_a_merge_that_changes_ci_by_itself_holds(vault: Vault, maker: Maker, project: Repository) -> None:
    maker.commit({"mine": "1"})
    project.commit("main", {"Jenkinsfile": "the remote's own"})
    await vault.fetch()
    maker.git("fetch", "-q")
    maker.git("merge", "-q", "--no-commit", "--no-ff", "origin/main")
    maker.commit({"Jenkinsfile": "evil"})
    assert await held(vault, maker, None) == ("Jenkinsfile",)


async def test_secrets_and_huge_files_in_the_agents_commits_hold(vault: Vault, maker: Maker) -> None:
    maker.commit({"a.txt": SECRET, "big": "x" * 2000})
    maker.commit({"a.txt": "gone", "big": "gone"})
    assert await held(vault, maker, None, guard=Guard(max_file_bytes=1000)) == ("a.txt", "big")


async def test_what_the_branch_has_already_holds_nothing(vault: Vault, maker: Maker) -> None:
    old = maker.commit({"Jenkinsfile": "x"})
    maker.commit({"a": "b"})
    assert await held(vault, maker, old) == ()
