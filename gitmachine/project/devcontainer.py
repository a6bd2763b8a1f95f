"""The two things of a `devcontainer.json` that a machine can use: `image` and `postCreateCommand` (containers.dev)."""

from __future__ import annotations

import json
import re
import shlex
from typing import Any

from gitmachine.errors import ConfigurationError
from gitmachine.project.file import ProjectFile

NAMES = (".devcontainer/devcontainer.json", ".devcontainer.json")
MAX_BYTES = 64 * 1024

# Strings are kept, comments and commas before a closing bracket are not; line ends stay, for the errors' line numbers.
_TOKEN = re.compile(r'("(?:\\.|[^"\\\n])*")|(//[^\n]*)|(/\*.*?\*/)|(,)(?=(?:\s|//[^\n]*|/\*.*?\*/)*[}\]])', re.DOTALL)


def parse(data: bytes, name: str) -> ProjectFile:
    """Raises ConfigurationError, naming the line. Keys that a machine has no use for are left alone."""
    if len(data) > MAX_BYTES:
        raise ConfigurationError(f"{name} has more than {MAX_BYTES} bytes")
    text = data.decode("utf-8-sig", "replace")
    try:
        found = json.loads(_TOKEN.sub(_kept, text))
    except json.JSONDecodeError as error:
        raise ConfigurationError(f"{name}, line {error.lineno}: {error.msg}") from error
    except RecursionError:
        raise ConfigurationError(f"{name} is nested too deeply") from None
    if not isinstance(found, dict):
        raise ConfigurationError(f"{name}, line 1: it is no object")
    image = found.get("image")
    if image is not None and not isinstance(image, str):
        raise ConfigurationError(f"{name}, image: it is no text")
    return ProjectFile(image=image or None, setup=_commands(found.get("postCreateCommand"), name))


def _kept(match: re.Match[str]) -> str:
    return match[1] or re.sub(r"[^\n]", " ", match[0])


def _commands(value: Any, name: str) -> list[str]:
    """A line for a shell, a program with its arguments, or several of either by name."""
    match value:
        case None | "":
            return []
        case str():
            return [value]
        case list() if value and all(isinstance(word, str) for word in value):
            return [shlex.join(value)]
        case dict():
            return [command for one in value.values() for command in _commands(one, name)]
        case _:
            raise ConfigurationError(f"{name}, postCreateCommand: it is no command, list of words or object of these")
