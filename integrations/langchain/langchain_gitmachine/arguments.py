"""What models may say to each tool."""

from __future__ import annotations

from typing import Annotated, Any

from langchain_core.tools import InjectedToolArg
from pydantic import BaseModel, Field
from pydantic.json_schema import SkipJsonSchema


class Arguments(BaseModel):
    """No arguments."""

    # Declared here because LangGraph looks for it here, and hands a tool None without a word otherwise
    # (langchain issue #34558). Models do not see it.
    runtime: Annotated[Any, SkipJsonSchema(), InjectedToolArg()] = None


class RunArguments(Arguments):
    command: str = Field(description="Given to a shell in the repository's directory.")
    timeout: float | None = Field(
        default=None, gt=0, description="Seconds after which the command and all its children are killed."
    )
    cwd: str | None = Field(default=None, description="A directory relative to the repository, or absolute.")


class DiffArguments(Arguments):
    base: str = Field(
        default="HEAD",
        description='What to compare with: "HEAD", "session" (where the work began), a branch, a commit.',
    )
    paths: list[str] | None = Field(default=None, description="Only these files or directories.")
    stat: bool = Field(default=False, description="Only a summary: files and numbers of lines.")


class CommitArguments(Arguments):
    message: str = Field(min_length=1, description="The commit message.")


class LogsArguments(Arguments):
    last: int = Field(default=10, ge=1, le=100, description="How many of the newest commands.")


class ReadFileArguments(Arguments):
    path: str = Field(description="Relative to the repository.")
    start_line: int = Field(default=1, ge=1)
    max_lines: int = Field(default=2000, ge=1)


class WriteFileArguments(Arguments):
    path: str = Field(description="Relative to the repository. Directories above it are made.")
    content: str = Field(description="The whole new content.")


class EditFileArguments(Arguments):
    path: str = Field(description="Relative to the repository.")
    old: str = Field(description="The text to replace, exactly as it is in the file; it must be there once.")
    new: str = Field(description="What takes its place.")


class ListFilesArguments(Arguments):
    path: str = Field(default=".", description="A directory, relative to the repository.")
