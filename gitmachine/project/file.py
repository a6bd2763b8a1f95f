"""`gitmachine.toml`: read strictly, and refused with the line and the key.

image = "debian:12"                     # for providers that have images
setup = ["make deps"]                   # run once in a new machine, in the checkout
network = ["pypi.org", "*.pythonhosted.org"]
env = ["CI", "NPM_REGISTRY"]            # names; the operator has the values

[limits]                                # of the machine; less is taken, more is asked for
memory = "4 GiB"
disk = "10 GiB"
cpus = 2
processes = 512
open_files = 4096
lifetime = "2h"
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator

from gitmachine.errors import ConfigurationError
from gitmachine.network.policy import parse_rule

NAME = "gitmachine.toml"
MAX_BYTES = 16 * 1024
_MAX_LINES = 500
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(i?B)?", re.IGNORECASE)
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|min|h|d)", re.IGNORECASE)
_SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")


def size_bytes(value: object) -> object:
    """A number of bytes, or text such as "4 GiB"; a K is 1024."""
    if not isinstance(value, str):
        return value
    found = _SIZE.fullmatch(value.strip())
    if found is None:
        raise ValueError("give a size such as '512 MiB' or '4 GiB', or a number of bytes")
    return int(float(found[1]) * 1024 ** " KMGT".index(found[2].upper() or " "))


def seconds(value: object) -> object:
    """A number of seconds, or text such as "90s", "30m" or "2h"."""
    if not isinstance(value, str):
        return value
    found = _DURATION.fullmatch(value.strip())
    if found is None:
        raise ValueError("give a duration such as '90s', '30m' or '2h', or a number of seconds")
    return float(found[1]) * _SECONDS[found[2].lower()]


_Size = Annotated[int, BeforeValidator(size_bytes), Field(gt=0)]
_Count = Annotated[int, Field(gt=0)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class ProjectLimits(_Strict):
    """Bounds on the machine that the repository wants. None: whatever the machine has."""

    memory: _Size | None = None
    disk: _Size | None = None
    cpus: Annotated[float, Field(gt=0)] | None = None
    processes: _Count | None = None
    open_files: _Count | None = None
    lifetime: Annotated[float, BeforeValidator(seconds), Field(gt=0)] | None = None


class ProjectFile(_Strict):
    """What a repository asks for."""

    image: Annotated[str, Field(min_length=1, max_length=512)] | None = None
    setup: Annotated[list[Annotated[str, Field(min_length=1, max_length=8192)]], Field(max_length=50)] = []
    network: Annotated[list[str], Field(max_length=200)] = []
    env: Annotated[list[str], Field(max_length=100)] = []
    limits: ProjectLimits = ProjectLimits()

    @field_validator("network")
    @classmethod
    def _hosts(cls, entries: list[str]) -> list[str]:
        for entry in entries:
            parse_rule(entry)
        return entries

    @field_validator("env")
    @classmethod
    def _names(cls, names: list[str]) -> list[str]:
        for name in names:
            if not _VARIABLE.fullmatch(name):
                raise ValueError(f"{name!r} is not the name of an environment variable; values are not given here")
        return names

    @field_validator("setup")
    @classmethod
    def _commands(cls, commands: list[str]) -> list[str]:
        if any("\0" in command for command in commands):
            raise ValueError("a command cannot hold a NUL character")
        return commands


def parse(data: bytes) -> ProjectFile:
    """Raises ConfigurationError, naming the line and the key."""
    if len(data) > MAX_BYTES or data.count(b"\n") > _MAX_LINES:
        raise ConfigurationError(f"{NAME} has more than {MAX_BYTES} bytes or {_MAX_LINES} lines, which none needs")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigurationError(f"{NAME}, line {line}: it is not UTF-8") from error
    try:
        return ProjectFile.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{NAME} is not TOML: {error}") from error
    except ValidationError as error:
        raise ConfigurationError(_described(text, error)) from error


def _described(text: str, error: ValidationError) -> str:
    first = error.errors(include_url=False, include_context=False)[0]
    path = [part for part in first["loc"] if isinstance(part, str)]
    keys = _existing(tomllib.loads(text), path)
    said = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        known = ProjectLimits.model_fields if len(keys) > 1 else ProjectFile.model_fields
        said = f"there is no such key; there are {', '.join(known)}"
    return f"{NAME}, line {_line_of(text, keys)}, {'.'.join(keys)}: {said}"


def _existing(data: Mapping[str, Any], path: Sequence[str]) -> list[str]:
    """The part of the path that the file has: validators put words of their own behind it."""
    keys: list[str] = []
    for part in path:
        if not isinstance(data, dict) or part not in data:
            break
        keys.append(part)
        data = data[part]
    return keys


def _line_of(text: str, keys: Sequence[str]) -> int:
    """Where the statement that sets a key begins: the shortest beginning of the file that parses and has the key."""
    lines = text.splitlines(keepends=True)
    before = 0
    for end in range(1, len(lines) + 1):
        try:
            data = tomllib.loads("".join(lines[:end]))
        except tomllib.TOMLDecodeError:
            continue
        if _existing(data, keys) == list(keys):
            blank = (line.strip() == "" or line.lstrip().startswith("#") for line in lines[before:end])
            return before + 1 + next((number for number, empty in enumerate(blank) if not empty), 0)
        before = end
    return 1
