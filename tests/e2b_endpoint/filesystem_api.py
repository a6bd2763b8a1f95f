"""filesystem.Filesystem on a sandbox, behind the SDK's own generated server stubs.

Source: e2b-dev/infra `packages/envd/internal/services/filesystem`.
"""

from __future__ import annotations

from typing import Any

from e2b.envd.filesystem import filesystem_connect
from e2b.envd.filesystem import filesystem_pb as fs
from protobuf.wkt import Timestamp

from tests.e2b_endpoint.box import GuestGone, GuestRefused
from tests.e2b_endpoint.envd import Context, Guest, connect_error, resolve, user_of


class FilesystemService(filesystem_connect.Filesystem):
    """filesystem.Filesystem."""

    def __init__(self, guest: Guest) -> None:
        self._guest = guest

    async def stat(self, request: fs.StatRequest, ctx: Context, /) -> fs.StatResponse:
        return fs.StatResponse(entry=entry_info((await self._ask(ctx, "stat", path=request.path))["entry"]))

    async def make_dir(self, request: fs.MakeDirRequest, ctx: Context, /) -> fs.MakeDirResponse:
        return fs.MakeDirResponse(entry=entry_info((await self._ask(ctx, "make_dir", path=request.path))["entry"]))

    async def move(self, request: fs.MoveRequest, ctx: Context, /) -> fs.MoveResponse:
        answer = await self._ask(ctx, "move", source=request.source, destination=request.destination)
        return fs.MoveResponse(entry=entry_info(answer["entry"]))

    async def list_dir(self, request: fs.ListDirRequest, ctx: Context, /) -> fs.ListDirResponse:
        user = user_of(ctx.request_headers.get("authorization"))
        answer = await self._asked("list", path=resolve(request.path, user), depth=request.depth or 1)
        return fs.ListDirResponse(entries=[entry_info(entry) for entry in answer["entries"]])

    async def remove(self, request: fs.RemoveRequest, ctx: Context, /) -> fs.RemoveResponse:
        await self._ask(ctx, "remove", path=request.path)
        return fs.RemoveResponse()

    async def _ask(self, ctx: Context, op: str, **paths: str) -> dict[str, Any]:
        user = user_of(ctx.request_headers.get("authorization"))
        return await self._asked(op, **{name: resolve(path, user) for name, path in paths.items()})

    async def _asked(self, op: str, **fields: object) -> dict[str, Any]:
        try:
            return await self._guest.box.ask(op, **fields)
        except (GuestRefused, GuestGone) as error:
            raise connect_error(error) from error


def entry_info(entry: dict[str, Any]) -> fs.EntryInfo:
    seconds, nanoseconds = divmod(entry["modified_ns"], 1_000_000_000)
    return fs.EntryInfo(
        name=entry["name"],
        type=fs.FileType(entry["type"]),
        path=entry["path"],
        size=entry["size"],
        mode=entry["mode"],
        permissions=entry["permissions"],
        owner=entry["owner"],
        group=entry["group"],
        modified_time=Timestamp(seconds=seconds, nanos=nanoseconds),
        symlink_target=entry.get("symlink_target"),
        metadata=entry["metadata"],
        # envd 0.6.13 does not set `is_symlink` yet (services/filesystem/utils.go); later ones do.
    )
