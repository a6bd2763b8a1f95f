"""The tools, over a server in memory, in both eras of the protocol."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from mcp.client.client import Client

from gitmachine import GitMachine, Registry
from gitmachine_mcp import Options, build_server
from gitmachine_mcp.limits import MAX_CHARS
from tests.mcp.conftest import ERAS, held, ok, refused, text
from tests.support.git_server import Repository

TOOLS = [
    "start", "run", "logs", "interrupt", "files", "status", "diff", "commit", "push", "pull", "rewind", "fork",
    "pause", "resume", "stop",
]  # fmt: skip
LARGEST_RESULT_BYTES = 400 * 1024


@pytest.fixture(params=ERAS)
async def client(
    request: pytest.FixtureRequest, environment: dict[str, str], project: Repository
) -> AsyncIterator[Client]:
    del environment
    async with held(Client(build_server(Options(repo=project.url)), mode=request.param)) as client:
        yield client


async def test_every_tool_says_all_that_a_host_asks_for(client: Client) -> None:
    listed = (await client.list_tools()).tools
    assert [tool.name for tool in listed] == TOOLS
    for tool in listed:
        assert tool.title
        assert tool.description
        assert tool.output_schema
        assert tool.annotations is not None
        hints = tool.annotations.model_dump(exclude={"title"})
        assert all(isinstance(hint, bool) for hint in hints.values()), tool.name
        assert "ctx" not in tool.input_schema["properties"]
        described = [name for name, schema in tool.input_schema["properties"].items() if "description" not in schema]
        assert described in ([], ["max_chars"])


async def test_a_session_from_its_first_command_to_its_end(client: Client, project: Repository) -> None:
    ran = await ok(client, "run", command="python3 -B test_calc.py; echo done; exit 3")
    assert (ran["state"], ran["exit_code"], ran["truncated"]) == ("exited", 3, False)
    assert "AssertionError: -1" in ran["output"]
    assert "done\n" in ran["output"]
    handle = ran["session"]

    await ok(client, "files", op="edit", path="calc.py", old="a - b", new="a + b")
    assert (await ok(client, "run", command="python3 -B test_calc.py"))["output"] == "ok\n"
    changed = await ok(client, "diff")
    assert [file for file in changed["files"] if file["path"] == "calc.py"] == [
        {"path": "calc.py", "added": 1, "removed": 1}
    ]
    assert "+    return a + b" in changed["patch"]
    committed = await ok(client, "commit", message="Add, not subtract", paths=["calc.py"])
    assert committed["sha"]
    await ok(client, "files", op="write", path="notes/new.txt", content="new\n")
    status = (await ok(client, "status"))["detail"]
    assert "A notes/new.txt" in status["changes"]
    assert status["unpushed"]
    pushed = await ok(client, "push")
    assert pushed["where"] == "remote"
    assert project.heads()[committed["branch"]] == committed["sha"]

    assert await ok(client, "pause") == {"session": handle, "state": "paused", "changed": True}
    assert "resume" in await refused(client, "run", command="true")
    assert await ok(client, "pause") == {"session": handle, "state": "paused", "changed": False}
    assert (await ok(client, "resume"))["changed"]
    stopped = await ok(client, "stop")
    assert (stopped["where"], stopped["discarded"]) == ("remote", False)
    assert project.git("show", f"{committed['branch']}:notes/new.txt") == "new"
    assert "no session is live" in await refused(client, "stop")


async def test_nothing_to_commit_is_no_error(client: Client) -> None:
    assert (await ok(client, "commit", message="Nothing"))["sha"] is None


async def test_an_error_says_what_to_call_next(client: Client) -> None:
    assert "`start`" in await refused(client, "run", command="true", session="gm_nonsense")
    assert "op `list`" in await refused(client, "files", op="read", path="nowhere.txt")
    assert "leads out of the checkout" in await refused(client, "files", op="read", path="../../etc/passwd")
    ambiguous = await refused(client, "files", op="edit", path="calc.py", old="a", new="z")
    assert "times, not once" in ambiguous
    assert "`files`" in ambiguous
    assert "no command" in await refused(client, "logs", command_id="cmd_nonsense")
    assert "Traceback" not in await refused(client, "diff", base="no-such-branch")


async def test_a_long_output_stays_within_its_limits_and_can_be_read_to_the_end(client: Client) -> None:
    command = "seq -f 'line %08.0f of an output that is far too long' 210000"
    result = await client.call_tool("run", {"command": command, "max_chars": 3000})
    assert len(result.model_dump_json()) < LARGEST_RESULT_BYTES
    ran: dict[str, Any] = result.structured_content or {}
    whole = "".join(f"line {number:08} of an output that is far too long\n" for number in range(1, 210001))
    assert ran["total_bytes"] == len(whole) > 10_000_000
    assert ran["truncated"]
    assert len(ran["output"]) <= 3200
    assert ran["output"].endswith("line 00210000 of an output that is far too long\n")
    cursor, rest, calls = ran["next_cursor"], ran["output"].partition("\n[...")[0], 0
    while True:
        piece = await client.call_tool(
            "logs", {"command_id": ran["command_id"], "cursor": cursor, "max_chars": MAX_CHARS}
        )
        assert len(piece.model_dump_json()) < LARGEST_RESULT_BYTES
        read: dict[str, Any] = piece.structured_content or {}
        rest += read["output"]
        cursor, calls = read["next_cursor"], calls + 1
        if not read["more"]:
            break
    assert rest == whole
    assert calls < 400


async def test_output_that_grows_on_the_wire_stays_within_its_limits(client: Client) -> None:
    result = await client.call_tool(
        "run", {"command": "head -c 60000 /dev/zero | tr '\\0' '\\1'", "max_chars": MAX_CHARS}
    )
    assert len(json.dumps(result.model_dump(mode="json"))) < LARGEST_RESULT_BYTES


async def test_a_long_patch_can_be_read_to_the_end(client: Client) -> None:
    await ok(client, "run", command="seq -f 'a new line with the number %.0f' 1 240000 > long.txt; rm calc.py")
    first = await ok(client, "diff", max_chars=MAX_CHARS)
    assert first["total_chars"] > 8_000_000
    assert [(f["path"], f["added"], f["removed"]) for f in first["files"]] == [
        ("calc.py", 0, 2),
        ("long.txt", 240000, 0),
    ]
    patch, cursor = first["patch"], first["next_cursor"]
    for _ in range(20):
        piece = await ok(client, "diff", cursor=cursor, max_chars=MAX_CHARS)
        patch, cursor = patch + piece["patch"], piece["next_cursor"]
    assert patch.splitlines()[-2].startswith("+a new line with the number ")
    last = await ok(client, "diff", cursor=f"{cursor.partition('.')[0]}.{first['total_chars'] - 20}")
    assert last["next_cursor"] is None
    assert last["patch"].endswith("number 240000\n")
    await ok(client, "files", op="write", path="other.txt", content="x")
    await ok(client, "diff")
    assert "without `cursor`" in await refused(client, "diff", cursor=cursor)


async def test_progress_comes_while_the_command_runs(client: Client) -> None:
    heard: list[tuple[float, str | None]] = []

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        heard.append((progress, message))

    command = "for i in 1 2 3 4; do echo step $i; sleep 0.4; done"
    result = await client.call_tool("run", {"command": command}, progress_callback=hear)
    assert not result.is_error
    assert len(heard) >= 3
    assert [progress for progress, _ in heard] == sorted({progress for progress, _ in heard})
    assert "step 1" in (heard[0][1] or "")


@pytest.mark.parametrize("client", ERAS[:1], indirect=True)
async def test_a_command_that_says_nothing_is_heard_of_all_the_same(client: Client) -> None:
    """Clients give up what they do not hear of; the longest silence that is allowed is 10 seconds."""
    heard: list[float] = []

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        heard.append(progress)

    command = "read -t 9 <> <(:)"
    await client.call_tool("run", {"command": command}, progress_callback=hear)
    assert [True for progress in heard if progress > 3]
    assert all(later - earlier < 8 for earlier, later in itertools.pairwise([0, *heard, 9]))


async def test_a_command_that_takes_too_long_is_handed_over_and_followed(client: Client) -> None:
    ran = await ok(client, "run", command="echo first; while [ ! -e go ]; do sleep 0.05; done; echo last", wait_s=0.5)
    assert (ran["state"], ran["exit_code"], ran["output"]) == ("running", None, "first\n")
    assert [c["command_id"] for c in (await ok(client, "status"))["detail"]["running"]] == [ran["command_id"]]
    await ok(client, "files", op="write", path="go", content="")
    read = await ok(client, "logs", command_id=ran["command_id"], cursor=ran["next_cursor"], wait_s=20)
    assert read["output"] == "last\n"
    done = await ok(client, "logs", command_id=ran["command_id"], cursor=read["next_cursor"], wait_s=20)
    assert (done["state"], done["exit_code"], done["more"]) == ("exited", 0, False)


async def test_a_command_in_the_background_lets_the_others_go_on(client: Client) -> None:
    ran = await ok(client, "run", command="echo up; echo bad >&2; exec sleep 300", wait_s=0)
    assert ran["state"] == "running"
    read = await ok(client, "logs", command_id=ran["command_id"], wait_s=20)
    assert "up\n" in read["output"]
    await ok(client, "files", op="write", path="new.txt", content="x")
    assert (await ok(client, "commit", message="Beside it"))["sha"]
    ended = await ok(client, "interrupt", command_id=ran["command_id"])
    assert ended["exit_code"] == 130
    assert ran["command_id"] in [c["command_id"] for c in (await ok(client, "logs"))["commands"]]


async def test_interrupt_lets_a_command_clean_up(client: Client) -> None:
    ran = await ok(
        client, "run", command="trap 'echo cleaned; exit 7' INT; echo on; while :; do sleep 0.1; done", wait_s=0.5
    )
    ended = await ok(client, "interrupt", command_id=ran["command_id"])
    assert (ended["state"], ended["exit_code"]) == ("exited", 7)
    assert "cleaned" in (await ok(client, "logs", command_id=ran["command_id"]))["output"]


async def test_interrupt_kills_what_does_not_listen(client: Client) -> None:
    ran = await ok(client, "run", command="trap '' INT; echo on; while :; do sleep 0.1; done", wait_s=0.5)
    assert (await ok(client, "interrupt", command_id=ran["command_id"]))["state"] == "cancelled"
    assert (await ok(client, "run", command="pgrep -c sleep"))["output"] == "0\n"


async def test_a_timeout_keeps_what_was_said_before(client: Client) -> None:
    ran = await ok(client, "run", command="echo before; sleep 100", timeout_s=0.5)
    assert (ran["state"], ran["exit_code"], ran["output"]) == ("timed_out", 124, "before\n")


async def test_cancelling_a_call_kills_the_command_with_its_children(client: Client) -> None:
    await ok(client, "run", command="true")
    call = asyncio.create_task(client.call_tool("run", {"command": "sleep 4711 & setsid sleep 4711; wait"}))
    wait = "for i in $(seq 400); do [ $(pgrep -xc sleep) -{} ] && exit 0; read -t 0.05 <> <(:); done; exit 1"
    assert (await ok(client, "run", command=wait.format("ge 2")))["exit_code"] == 0
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert (await ok(client, "run", command=wait.format("eq 0")))["exit_code"] == 0


async def test_the_history_names_the_door_and_the_call(client: Client) -> None:
    await ok(client, "run", command="echo 1 > one.txt")
    await ok(client, "run", command="exit 2")
    ran = await ok(client, "run", command="true", wait_s=0)
    await ok(client, "logs", command_id=ran["command_id"], wait_s=20)
    (record,) = Registry().records()
    gm = await GitMachine.reopen(record.id)
    entries = [entry for entry in await gm.history() if entry.kind != "start"]
    await gm.detach()
    assert {entry.actor for entry in entries} == {"mcp"}
    calls = [entry.call for entry in entries]
    assert None not in calls
    assert len(set(calls)) == len(entries) >= 2


async def test_files_are_listed_and_read_by_ranges(client: Client) -> None:
    await ok(client, "run", command="mkdir -p d/sub; seq 1000 > d/n.txt; printf 'a\\0b' > d/bin")
    listed = await ok(client, "files", path="d")
    assert listed["entries"] == ["bin", "n.txt", "sub/"]
    read = await ok(client, "files", op="read", path="d/n.txt", start_line=10, max_lines=3)
    assert (read["text"], read["end_line"], read["total_lines"], read["next_line"]) == ("10\n11\n12\n", 12, 1000, 13)
    assert "not a text file" in await refused(client, "files", op="read", path="d/bin")
    await ok(client, "run", command="ln -s /etc d/out")
    assert "leads out" in await refused(client, "files", op="write", path="d/out/passwd", content="x")


async def test_four_calls_go_on_at_once(client: Client) -> None:
    await ok(client, "run", command="true")
    wait = "for i in $(seq 400); do [ $(ls here-* | wc -l) -ge 4 ] && exit 0; sleep 0.05; done; exit 1"
    command = f"touch here-$RANDOM-$$; {wait}"
    results = await asyncio.gather(*(ok(client, "run", command=command) for _ in range(4)))
    assert [result["exit_code"] for result in results] == [0, 0, 0, 0]


async def test_prompts_resources_and_completion(client: Client) -> None:
    ran = await ok(client, "run", command="echo hello")
    handle = ran["session"]
    assert {prompt.name for prompt in (await client.list_prompts()).prompts} == {
        "work_on_repo", "review_session", "finish_session",
    }  # fmt: skip
    templates = (await client.list_resource_templates()).resource_templates
    assert len(templates) == 5

    async def read(uri: str) -> str:
        (content,) = (await client.read_resource(uri)).contents
        return str(getattr(content, "text", ""))

    assert json.loads(await read("gitmachine://sessions"))["sessions"][0]["session"] == handle
    assert json.loads(await read(f"gitmachine://sessions/{handle}"))["state"] == "running"
    assert (await read(f"gitmachine://sessions/{handle}/files/calc.py")).startswith("def add")
    assert await read(f"gitmachine://sessions/{handle}/commands/{ran['command_id']}/log") == "hello\n"
    events = json.loads(await read(f"gitmachine://sessions/{handle}/events?after=1&limit=1"))
    assert [event["seq"] for event in events["events"]] == [2]
    from mcp_types import ResourceTemplateReference

    reference = ResourceTemplateReference(uri="gitmachine://sessions/{session}")
    completed = await client.complete(reference, {"name": "session", "value": "gm_"})
    assert completed.completion.values == [handle]


async def test_a_text_for_the_model_and_the_same_as_data(client: Client) -> None:
    result = await client.call_tool("run", {"command": "echo hello; exit 2"})
    assert text(result) == "[exit code 2]\nhello\n"
    assert result.structured_content is not None
    assert result.structured_content["output"] == "hello\n"


async def test_calls_that_come_together_share_the_session_that_starts_by_itself(client: Client) -> None:
    results = await asyncio.gather(*(ok(client, "run", command=f"echo {number}") for number in range(4)))
    assert len({result["session"] for result in results}) == 1
    assert len((await ok(client, "status"))["sessions"]) == 1
