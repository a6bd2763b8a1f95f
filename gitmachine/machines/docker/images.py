"""Images: there, or brought."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from gitmachine.errors import ConfigurationError, MachineUnavailable

if TYPE_CHECKING:
    from aiodocker import Docker

Pull = Literal["missing", "always", "never"]
_NOT_FOUND = 404


@dataclass(frozen=True, slots=True)
class PullProgress:
    """One line of what an engine says while it pulls an image."""

    image: str
    status: str
    """In the engine's words: Downloading, Extracting, Pull complete …"""
    layer: str | None = None
    current_bytes: int | None = None
    total_bytes: int | None = None


PullCallback = Callable[[PullProgress], Awaitable[None] | None]


async def ensure(docker: Docker, image: str, pull: Pull, on_pull: PullCallback | None) -> None:
    """The image is there afterwards. Raises MachineUnavailable, ConfigurationError."""
    import aiodocker

    if pull not in ("missing", "always", "never"):
        raise ConfigurationError(f"pull={pull!r}: give 'missing', 'always' or 'never'")
    if pull != "always":
        try:
            await docker.images.inspect(image)
        except aiodocker.DockerError as error:
            if error.status != _NOT_FOUND:
                raise
        else:
            return
    if pull == "never":
        raise MachineUnavailable(
            f"the engine has no image {image!r}: build it or pull it first, or leave pull='never' out"
        )
    try:
        async for line in docker.images.pull(image, stream=True):
            await _tell(image, line, on_pull)
    except aiodocker.DockerError as error:
        raise MachineUnavailable(f"image {image!r} could not be pulled: {str(error.message).strip()}") from error


async def _tell(image: str, line: dict[str, Any], on_pull: PullCallback | None) -> None:
    import aiodocker

    if "error" in line:
        raise aiodocker.DockerError(500, str(line["error"]))
    if on_pull is None:
        return
    detail = line.get("progressDetail") or {}
    answer = on_pull(
        PullProgress(image, str(line.get("status", "")), line.get("id"), detail.get("current"), detail.get("total"))
    )
    if inspect.isawaitable(answer):
        await answer
