"""A repository's own gitmachine.toml: what it gets with the operator's consent, and that without it gets nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from gitmachine import ConfigurationError, Consent, DockerMachine, GitMachine, LocalMachine
from gitmachine.events import NetworkRefused, ProjectRead, SetupFailed
from gitmachine.machines.local import Limits
from tests.session.conftest import Opener, out
from tests.support.docker_engine import IMAGE, WITHOUT_PYTHON, DockerEngine
from tests.support.git_server import Repository

pytestmark = pytest.mark.parametrize("make_machine", [LocalMachine], ids=["local"], indirect=True)

MIB = 1024**2
ASKS = """
image = "debian:12"
setup = ["echo prepared > ~/prepared; echo $GREETING > greeting.txt"]
network = ["pypi.org", "evil.test"]
env = ["GREETING", "GITHUB_TOKEN"]

[limits]
memory = "64 GiB"
processes = 500
disk = "64 MiB"
"""


@pytest.fixture
def asking(project: Repository) -> Callable[[str], None]:
    def commit(text: str, name: str = "gitmachine.toml") -> None:
        project.commit("main", {name: text})

    return commit


async def asked(gm: GitMachine) -> ProjectRead:
    return next(event for event in await gm.events() if isinstance(event, ProjectRead))


async def test_without_consent_a_repository_gets_nothing_but_less(
    session: Opener, asking: Callable[[str], None]
) -> None:
    asking(ASKS)
    gm = await session()
    event = await asked(gm)
    assert event.granted == ["limits, disk 64 MiB", "limits, processes 500"]
    assert len(event.refused) == 7
    assert await out(gm, "ls ~; echo ${GREETING-unset} ${http_proxy-unset}") == "repo\nunset unset"
    abilities = gm.machine.capabilities
    assert abilities.network == "none"
    assert abilities.limits["processes"].startswith("500 ")
    assert abilities.limits["disk"].startswith("64 MiB")
    assert abilities.limits["memory"].startswith("8 GiB")


async def test_with_consent_it_gets_what_was_named(session: Opener, asking: Callable[[str], None]) -> None:
    asking(ASKS)
    consent = Consent(setup=True, network=("*.org", "pypi.org"), env={"GREETING": "hello there"}, limits=True)
    gm = await session(consent=consent)
    event = await asked(gm)
    assert "network pypi.org" in event.granted
    assert any(text.startswith("network evil.test") for text in event.refused)
    assert any(text.startswith("env GITHUB_TOKEN") for text in event.refused)
    assert any(text.startswith("image") for text in event.refused)
    assert gm.machine.capabilities.allowed_hosts == ("pypi.org",)
    memory = gm.machine.capabilities.limits["memory"]
    if "cgroup" in memory:
        assert memory.startswith("64 GiB")
    else:  # a resource limit cannot be raised again (getrlimit(2)), and that is said
        assert memory.startswith("8 GiB")
        assert any("memory" in text for text in event.refused)
    assert await out(gm, "cat ~/prepared greeting.txt; echo $GREETING") == "prepared\nhello there\nhello there"
    entry = next(entry for entry in await gm.history() if entry.kind == "command")
    assert entry.actor == "setup"
    refused = await gm.run("curl -sS http://evil.test/")
    assert [(refusal.host, refusal.port) for refusal in refused.refused] == [("evil.test", 80)]
    told = [event for event in await gm.events() if isinstance(event, NetworkRefused)]
    assert [(event.host, event.port, event.reason) for event in told] == [
        ("evil.test", 80, "is not among the allowed hosts")
    ]
    assert (await gm.run("true")).refused == ()


async def test_what_a_session_wrote_does_not_ask(session: Opener, asking: Callable[[str], None]) -> None:
    gm = await session()
    await gm.run("printf 'setup = [\"touch ~/mine\"]' > gitmachine.toml")
    await gm.stop()
    again = await session(consent=Consent(setup=True, any_network=True))
    assert await out(again, "cat gitmachine.toml; ls ~") == 'setup = ["touch ~/mine"]repo'
    assert not [event for event in await again.events() if isinstance(event, ProjectRead)]


async def test_a_setup_command_that_fails_is_told_and_the_session_goes_on(
    session: Opener, asking: Callable[[str], None]
) -> None:
    asking('setup = ["echo no luck; exit 3", "touch never"]')
    gm = await session(consent=Consent(setup=True))
    failed = [event for event in await gm.events() if isinstance(event, SetupFailed)]
    assert [(event.exit_code, event.output, event.skipped) for event in failed] == [(3, "no luck\n", 1)]
    assert "never" not in await out(gm, "ls")


async def test_a_devcontainer_is_understood(session: Opener, project: Repository) -> None:
    project.commit("main", {".devcontainer/devcontainer.json": '{"image": "x", "postCreateCommand": "touch ~/made", }'})
    gm = await session(consent=Consent(setup=True))
    assert (await asked(gm)).file == ".devcontainer/devcontainer.json"
    assert await out(gm, "ls ~") == "made\nrepo"


async def test_a_file_with_a_mistake_is_named_and_can_be_left_unread(
    session: Opener, asking: Callable[[str], None], state_dir: Path
) -> None:
    asking("\nsetupp = []\n")
    with pytest.raises(ConfigurationError, match=r"gitmachine\.toml, line 2, setupp: .*--allow ignore"):
        await session()
    assert list((state_dir / "machines").iterdir()) == []
    gm = await session(consent=Consent(read=False))
    assert await out(gm, "ls gitmachine.toml") == "gitmachine.toml"


async def test_consent_adds_to_the_list_that_a_machine_has(session: Opener, asking: Callable[[str], None]) -> None:
    asking('network = ["pypi.org"]\n[limits]\nmemory = "64 MiB"\nopen_files = 100\nlifetime = "1h"\ncpus = 0.5\n')
    machine = LocalMachine(network=["a.test"], limits=Limits(memory_bytes=128 * MIB))
    gm = await session(machine=machine, consent=Consent(any_network=True))
    assert machine.capabilities.allowed_hosts == ("a.test", "pypi.org")
    assert machine.capabilities.limits["memory"].startswith("64 MiB")
    assert machine.capabilities.limits["lifetime"].startswith("3600 s")
    assert await out(gm, "ulimit -n; echo $http_proxy") == "100\nhttp://127.0.0.1:3128"
    other = await LocalMachine.connect(str(machine.id))
    assert other.capabilities == machine.capabilities


async def test_a_container_is_made_anew_as_its_repository_asks(
    session: Opener, asking: Callable[[str], None], docker: DockerEngine
) -> None:
    asking(ASKS.replace("debian:12", IMAGE))
    given = {"GREETING": "hello there"}
    consent = Consent(setup=True, network=("*.org", "pypi.org"), env=given, limits=True, images=("*",))
    machine = DockerMachine(WITHOUT_PYTHON, pull="never", labels={"test": "asked"})
    gm = await session(machine=machine, consent=consent)
    event = await asked(gm)
    assert {f"image {IMAGE}", "network pypi.org", "env GREETING", "limits, memory 64 GiB"} <= set(event.granted)
    assert machine.capabilities.allowed_hosts == ("pypi.org",)
    assert machine.capabilities.limits["processes"].startswith("500 ")
    assert machine.capabilities.limits["disk"].startswith("64 MiB")
    assert docker.containers("test=asked") == [machine.id]  # nothing is left of the first
    assert await out(gm, "cat ~/prepared greeting.txt; echo $GREETING") == "prepared\nhello there\nhello there"
    refused = await gm.run("curl -sS http://evil.test/")
    assert [(refusal.host, refusal.port) for refusal in refused.refused] == [("evil.test", 80)]
    again = await DockerMachine.connect(str(machine.id))
    assert again.capabilities == machine.capabilities
    await again.aclose()
