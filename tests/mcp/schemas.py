"""The tools' schemas as clients see them, kept in `schemas.json`. `python -m tests.mcp.schemas` writes it anew."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from gitmachine_mcp import build_server

KEPT = Path(__file__).with_name("schemas.json")


async def current() -> str:
    tools = await build_server().list_tools()
    shown = [tool.model_dump(mode="json", by_alias=True, exclude_none=True) for tool in tools]
    return json.dumps(shown, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    KEPT.write_text(asyncio.run(current()))
