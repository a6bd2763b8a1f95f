"""Files in and out of a machine, in deepagents' words: an answer for each, in order, and nothing is raised."""

from __future__ import annotations

import shlex
from collections.abc import Awaitable, Callable
from typing import Literal

from deepagents.backends.protocol import FileDownloadResponse, FileUploadResponse

from gitmachine import Machine

FileProblem = Literal["file_not_found", "permission_denied", "is_directory", "invalid_path"]


async def upload(machine: Machine, files: list[tuple[str, bytes]]) -> list[FileUploadResponse]:
    """Writes each file whole; the directories above it are made."""
    answers = []
    for path, content in files:

        async def write(path: str = path, content: bytes = content) -> None:
            await machine.write_bytes(path, content)

        answers.append(FileUploadResponse(path=path, error=await _problem(machine, path, write)))
    return answers


async def download(machine: Machine, paths: list[str]) -> list[FileDownloadResponse]:
    """Each file's bytes, or what is wrong with its path."""
    answers = []
    for path in paths:
        content: list[bytes] = []

        async def read(path: str = path, content: list[bytes] = content) -> None:
            content.append(await machine.read_bytes(path))

        error = await _problem(machine, path, read)
        answers.append(FileDownloadResponse(path=path, content=None if error else content[0], error=error))
    return answers


async def _problem(machine: Machine, path: str, call: Callable[[], Awaitable[None]]) -> FileProblem | str | None:
    if not path.startswith("/") or "\0" in path:
        return "invalid_path"
    try:
        await call()
    except FileNotFoundError:
        return "file_not_found"
    except IsADirectoryError:
        return "is_directory"
    except NotADirectoryError:
        return "invalid_path"
    except PermissionError:
        return "permission_denied"
    except OSError as error:
        return await _seen_from_inside(machine, path, str(error))
    return None


async def _seen_from_inside(machine: Machine, path: str, reason: str) -> FileProblem | str:
    """What the machine's file call did not tell apart; `reason` if it is none of deepagents' four."""
    target = shlex.quote(path)
    # The nearest directory that there is decides whether something could be made below it.
    result = await machine.execute(
        f't={target}; [ -d "$t" ] && exit 21; [ -e "$t" ] && {{ [ -r "$t" ] && [ -w "$t" ] && exit 0; exit 13; }}; '
        'while [ ! -e "$t" ] && [ "$t" != / ]; do t=$(dirname -- "$t"); done; '
        '[ -d "$t" ] || exit 20; [ -w "$t" ] && [ -x "$t" ] && exit 0; exit 13'
    )
    match result.exit_code:
        case 13:
            return "permission_denied"
        case 20:
            return "invalid_path"
        case 21:
            return "is_directory"
    return reason
