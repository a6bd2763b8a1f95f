"""Records on disk: pydantic models with a version, written whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from gitmachine.errors import SessionError


class CorruptRecord(SessionError):
    """A record could not be read. It is left where it is; the message names the file."""


class Record(BaseModel):
    """Base of what is kept on disk as JSON."""

    model_config = ConfigDict(extra="ignore")

    VERSION: ClassVar[int] = 1
    version: int = 1

    @classmethod
    def load(cls, path: Path) -> Self:
        """Reads a record. Raises FileNotFoundError, CorruptRecord."""
        try:
            record = cls.model_validate_json(path.read_bytes())
        except ValidationError as error:
            raise CorruptRecord(f"the record {path} cannot be read: {error}") from error
        if record.version > cls.VERSION:
            raise CorruptRecord(
                f"the record {path} was written by a newer GitMachine (version {record.version}); upgrade"
            )
        return record

    def save(self, path: Path) -> None:
        """Writes the record so that a reader sees the old one or the new one, also after a crash."""
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(self.model_dump_json(indent=1).encode())
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
