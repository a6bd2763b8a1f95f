"""Records on disk: pydantic models with a version, written whole or not at all."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from gitmachine.errors import SessionError


class CorruptRecord(SessionError):
    """A record could not be read. It is left where it is; the message names the file."""


class NewerRecord(CorruptRecord):
    """A record was written by a later GitMachine than this one, which must not touch it."""


Upgrade = Callable[[dict[str, Any]], dict[str, Any]]
"""Turns the data of a record of one version into that of the next; it need not care for the version's number."""


class Record(BaseModel):
    """Base of what is kept on disk as JSON.

    A change that an older reader would misunderstand gets a new `VERSION` and an entry in `UPGRADES`, by the version
    that it starts from. A record is upgraded when it is read, and is on disk in the new form once it is saved.
    """

    model_config = ConfigDict(extra="ignore")

    VERSION: ClassVar[int] = 1
    UPGRADES: ClassVar[Mapping[int, Upgrade]] = MappingProxyType({})
    version: int = 1

    @classmethod
    def load(cls, path: Path) -> Self:
        """Reads a record, of this or an earlier version. Raises FileNotFoundError, CorruptRecord, NewerRecord."""
        try:
            data = json.loads(path.read_bytes())
            if not isinstance(data, dict):
                raise CorruptRecord(f"the record {path} is no JSON object; gitmachine gc sets it aside")
            return cls.model_validate(cls._upgraded(data, path))
        except (ValueError, ValidationError) as error:
            raise CorruptRecord(f"the record {path} cannot be read: {error}") from error

    @classmethod
    def _upgraded(cls, data: dict[str, Any], path: Path) -> dict[str, Any]:
        version = data.get("version", 0)
        if not isinstance(version, int):
            raise CorruptRecord(f"the record {path} has the version {version!r}, which is no number")
        if version > cls.VERSION:
            raise NewerRecord(f"the record {path} was written by a newer GitMachine (version {version}); upgrade")
        for step in range(version, cls.VERSION):
            if step not in cls.UPGRADES:
                raise CorruptRecord(f"the record {path} has version {version}, from which no upgrade is known")
            data = cls.UPGRADES[step](data)
        return {**data, "version": cls.VERSION}

    def save(self, path: Path) -> None:
        """Writes the record so that a reader sees the old one or the new one, also after a crash."""
        current = self.model_copy(update={"version": self.VERSION})
        write_whole(path, current.model_dump_json(indent=1).encode())


def write_whole(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Puts a file in place so that a reader sees the old one or the new one; with `durable` also after a power cut."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:  # a Ctrl-C, too, leaves no half of it
        Path(temporary).unlink(missing_ok=True)
        raise
