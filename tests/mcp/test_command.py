"""`gitmachine-mcp` as a person meets it, and what is shipped with it."""

from __future__ import annotations

import json
import subprocess
import tomllib
from pathlib import Path

import pytest
from mcp.client.client import Client

import gitmachine_mcp
from gitmachine_mcp import Options, build_server
from gitmachine_mcp.cli import parser
from tests.mcp.conftest import COMMAND, on_stdio, refused, text
from tests.mcp.schemas import KEPT, current
from tests.support.git_server import Repository

ROOT = Path(gitmachine_mcp.__file__).parents[1]


def said(*words: str, env: dict[str, str], exits: int = 0) -> str:
    done = subprocess.run([COMMAND, *words], env=env, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == exits, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


def test_version_help_and_doctor(environment: dict[str, str]) -> None:
    project = tomllib.loads((ROOT.parent / "pyproject.toml").read_text())["project"]
    assert said("--version", env=environment).strip() == project["version"]
    assert "GITMACHINE_MCP_" in said("--help", env=environment)
    assert "MCP SDK: installed" in said("doctor", env=environment)
    assert "invalid choice" in said("--machine", "cloud", env=environment, exits=2)
    assert "is not a URL" in said("--repo", "https://[", env=environment, exits=64)


def test_every_option_can_come_from_the_environment() -> None:
    env = {
        "GITMACHINE_MCP_REPO": "https://example.com/a.git",
        "GITMACHINE_MCP_READ_ONLY": "1",
        "GITMACHINE_MCP_ALLOW_REPO": "https://a/*, https://b/*",
        "GITMACHINE_MCP_MAX_SESSIONS": "3",
    }
    chosen = parser(env).parse_args([])
    assert (chosen.repo, chosen.read_only, chosen.max_sessions) == ("https://example.com/a.git", True, 3)
    assert chosen.allow_repo == ["https://a/*", "https://b/*"]


@pytest.mark.usefixtures("state")
async def test_a_read_only_server_has_only_the_tools_that_look(project: Repository) -> None:
    async with Client(build_server(Options(repo=project.url, read_only=True))) as client:
        names = [tool.name for tool in (await client.list_tools()).tools]
        assert names == ["logs", "files", "status", "diff"]
        assert "read-only" in await refused(client, "files", op="write", path="x", content="x")


@pytest.mark.usefixtures("state")
async def test_a_credential_in_the_address_of_the_preset_repository_is_not_told(project: Repository) -> None:
    preset = project.url.replace("://", "://alice:an-inline-secret@")
    async with Client(build_server(Options(repo=preset))) as client:
        told = [str(await client.call_tool("status", {})), str(await client.call_tool("run", {"command": "true"}))]
        told += [str(await client.call_tool("status", {})), str(await client.call_tool("start", {"repo": "/etc"}))]
        told.append(str(await client.call_tool("stop", {})))
    assert project.url in told[0]
    assert "an-inline-secret" not in "".join(told)


async def test_a_path_of_the_host_is_refused_unless_the_operator_named_it(
    environment: dict[str, str], project: Repository
) -> None:
    async with on_stdio(environment, "--max-sessions", "1", "--repo", project.url) as client:
        assert project.url in text(await client.call_tool("status", {}))
        assert "--allow-repo" in await refused(client, "start", repo=str(project.path))
        wrong = await refused(client, "run")
        assert "Field required" in wrong
        assert "http" not in wrong
        assert not (await client.call_tool("start", {})).is_error
        assert "which is the limit" in await refused(client, "start")
        assert not (await client.call_tool("stop", {})).is_error


def test_what_is_shipped_names_the_same_command_and_version() -> None:
    project = tomllib.loads((ROOT.parent / "pyproject.toml").read_text())["project"]
    server = json.loads((ROOT / "server.json").read_text())
    manifest = json.loads((ROOT / "mcpb" / "manifest.json").read_text())
    assert server["version"] == manifest["version"] == server["packages"][0]["version"] == project["version"]
    assert server["packages"][0]["identifier"] == project["name"]
    assert f"mcp-name: {server['name']}" in (ROOT / "README.md").read_text()
    listed = [tool["name"] for tool in manifest["tools"]]
    assert listed == ["start", "run", "logs", "interrupt", "files", "status", "diff", "commit", "push", "pull",
                      "rewind", "fork", "pause", "resume", "stop"]  # fmt: skip
    # Clients of the registry append the distribution to uvx's arguments, and uvx starts what is called like it.
    arguments = [
        word for given in server["packages"][0]["runtimeArguments"] for word in (given["name"], given["value"])
    ]
    assert arguments == ["--with", *project["optional-dependencies"]["mcp"]]
    assert project["scripts"][project["name"]] == project["scripts"]["gitmachine-mcp"]
    assert len(server["description"]) <= 100
    variables = {variable["name"] for variable in server["packages"][0]["environmentVariables"]}
    assert variables <= {"GITMACHINE_TOKEN", "GITMACHINE_HOME", "GITMACHINE_MCP_REPO", "GITMACHINE_MCP_MACHINE"}


@pytest.mark.usefixtures("state")
async def test_no_schema_of_a_tool_changes_unseen() -> None:
    """A difference that is meant is accepted by `python -m tests.mcp.schemas`, and then seen in the review."""
    assert await current() == KEPT.read_text()
