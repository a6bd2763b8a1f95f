"""`files`: list, read a range, write, edit."""

from __future__ import annotations

import shlex
from typing import Annotated, Literal

from mcp.server.mcpserver import Context
from mcp_types import CallToolResult
from pydantic import Field

from gitmachine.errors import ConfigurationError, FileError
from gitmachine.types import ExecuteOptions
from gitmachine_mcp.desk import OpenSession
from gitmachine_mcp.limits import MAX_CHARS, room
from gitmachine_mcp.models import Files
from gitmachine_mcp.tools.base import SessionArgument, Tools, answer

MAX_READ_BYTES = 8 * 1024 * 1024
MAX_ENTRIES = 1000


class FileTools(Tools):
    async def files(
        self,
        ctx: Context,
        session: SessionArgument = None,
        op: Annotated[Literal["list", "read", "write", "edit"], Field(description="What to do.")] = "list",
        path: Annotated[str, Field(description="Relative to the checkout; it may not lead out of it.")] = ".",
        content: Annotated[str | None, Field(description="For write: the whole file.")] = None,
        old: Annotated[str | None, Field(description="For edit: text that occurs exactly once in the file.")] = None,
        new: Annotated[str | None, Field(description="For edit: what to put in its place.")] = None,
        start_line: Annotated[int, Field(ge=1, description="For read; for list the first entry.")] = 1,
        max_lines: Annotated[int, Field(ge=1, le=5000, description="For read.")] = 400,
    ) -> Annotated[CallToolResult, Files]:
        """List a directory, read lines of a text file, write a file whole, or edit it by replacing one unique text.

        Read before you edit. An edit whose `old` occurs not at all or more than once changes nothing.
        """
        if self.desk.options.read_only and op not in ("list", "read"):
            raise ConfigurationError(f"this server is read-only: op {op!r} is not available, `list` and `read` are")
        found = await self.session(session, awake=True)
        match op:
            case "list":
                return await _list(found, path, start_line)
            case "read":
                return await _read(found, path, start_line, max_lines)
            case "write":
                if content is None:
                    raise ConfigurationError("op 'write' needs `content`, the whole file")
                await found.gm.write_file(path, content)
                return answer(f"Wrote {len(content.encode())} bytes to {path}.", _result(found, path, op))
            case "edit":
                if not old or new is None:
                    raise ConfigurationError("op 'edit' needs `old`, a text that is not empty, and `new`")
                await found.gm.edit_file(path, old, new)
                return answer(f"Edited {path}.", _result(found, path, op))


async def _list(found: OpenSession, path: str, start: int) -> CallToolResult:
    names = await found.gm.list_files(path)
    directories = await _directories(found, path)
    entries = [f"{name}/" if name in directories else name for name in names]
    shown = entries[start - 1 : start - 1 + MAX_ENTRIES]
    while shown and room(text := "\n".join(shown)) < len(text):
        shown = shown[: len(shown) // 2]
    more = start - 1 + len(shown) < len(entries)
    data = _result(found, path, "list", entries=shown, truncated=more)
    data.next_line = start + len(shown) if more else None
    rest = f"\n[{len(entries)} entries; more from start_line={data.next_line}]" if more else ""
    return answer("\n".join(shown) + rest if entries else "The directory is empty.", data)


async def _directories(found: OpenSession, path: str) -> set[str]:
    words = ["find", path if not path.startswith("-") else f"./{path}"]
    words += ["-mindepth", "1", "-maxdepth", "1", "-type", "d", "-printf", "%f\\0"]
    result = await found.gm.machine.execute(shlex.join(words), ExecuteOptions(cwd=found.gm.path, timeout=30))
    return set(result.stdout.split("\0"))


async def _read(found: OpenSession, path: str, start: int, max_lines: int) -> CallToolResult:
    words = shlex.join(["stat", "-L", "-c", "%s", "--", path])
    stat = await found.gm.machine.execute(words, ExecuteOptions(cwd=found.gm.path, timeout=30))
    if stat.exit_code == 0 and int(stat.stdout) > MAX_READ_BYTES:
        raise FileError(f"{path!r} has {stat.stdout.strip()} bytes, too many to read whole: use `run` with sed or grep")
    data = await found.gm.read_bytes(path)
    if b"\0" in data[:8192]:
        raise FileError(f"{path!r} is not a text file: look at it with `run`")
    lines = data.decode("utf-8", "replace").splitlines(keepends=True)
    if start > max(1, len(lines)):
        raise ConfigurationError(f"{path!r} has {len(lines)} lines: there is no line {start}")
    chosen = lines[start - 1 : start - 1 + max_lines]
    text = "".join(chosen)
    fitting = room(text, MAX_CHARS - 200)
    if fitting < len(text):
        text = text[:fitting]
        kept = text.count("\n")
        text = text if kept == 0 else text[: text.rindex("\n") + 1]
        chosen = chosen[: max(1, kept)]
    end = start - 1 + len(chosen)
    more = end < len(lines)
    result = _result(found, path, "read", text=text, truncated=more or start > 1)
    result.start_line, result.end_line, result.total_lines = start, end, len(lines)
    result.next_line = end + 1 if more else None
    rest = f"\n[lines {start} to {end} of {len(lines)}; more from start_line={end + 1}]" if more else ""
    return answer(text + rest if text else "The file is empty.", result)


def _result(
    found: OpenSession,
    path: str,
    op: Literal["list", "read", "write", "edit"],
    *,
    entries: list[str] | None = None,
    text: str | None = None,
    truncated: bool = False,
) -> Files:
    return Files(
        session=found.handle,
        path=path,
        op=op,
        entries=entries or [],
        text=text,
        start_line=None,
        end_line=None,
        total_lines=None,
        truncated=truncated,
        next_line=None,
    )
