"""This host's name for itself, by which it finds its own sandboxes among those of an account."""

from __future__ import annotations

import asyncio
import secrets
from pathlib import Path

from gitmachine import settings


async def host_name() -> str:
    """The same for as long as the state directory lives; random, so that it tells nobody anything."""
    return await asyncio.to_thread(_of, settings.load().state_dir)


def _of(state_dir: Path) -> str:
    path = state_dir / "host"
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        pass
    state_dir.mkdir(parents=True, mode=0o700, exist_ok=True)
    made = state_dir / f"host.{secrets.token_hex(4)}"
    made.write_text(secrets.token_hex(8))
    try:
        path.hardlink_to(made)  # whoever comes first names the host
    except FileExistsError:
        pass
    finally:
        made.unlink()
    return path.read_text().strip()
