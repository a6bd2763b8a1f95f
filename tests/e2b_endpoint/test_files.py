"""Files, by the unmodified SDK."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

import httpx
import pytest
from e2b import AsyncSandbox, FileNotFoundException, FileType, InvalidArgumentException, SandboxException

from tests.e2b_endpoint import E2BEndpoint


async def test_a_file_comes_back_as_it_went_in_for_one_request_each(
    endpoint: E2BEndpoint, sandbox: AsyncSandbox
) -> None:
    data = os.urandom(300_000)
    info = await sandbox.files.write("new/dir/file", data)
    assert (info.name, info.path) == ("file", "/home/user/new/dir/file")
    assert await sandbox.files.read("new/dir/file", format="bytes") == data
    assert [request.name for request in endpoint.requests] == ["POST /files", "GET /files"]


async def test_text_is_utf_8(sandbox: AsyncSandbox) -> None:
    await sandbox.files.write("~/text", "grüß\n")
    assert await sandbox.files.read("text") == "grüß\n"
    assert (await sandbox.commands.run("wc -c < text")).stdout.strip() == "7"


async def test_several_files_go_in_one_request(endpoint: E2BEndpoint, sandbox: AsyncSandbox) -> None:
    names = ["ä b", "/tmp/it's", "c/d;e"]
    written = await sandbox.files.write_files([{"path": name, "data": name} for name in names])
    assert [info.path for info in written] == ["/home/user/ä b", "/tmp/it's", "/home/user/c/d;e"]
    assert [await sandbox.files.read(name) for name in names] == names
    assert sum(request.name == "POST /files" for request in endpoint.requests) == 1


async def test_a_stream_goes_up_and_down(sandbox: AsyncSandbox) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for number in range(10):
            yield bytes([number]) * 50_000

    await sandbox.files.write("stream", chunks())
    back = bytearray()
    async with await sandbox.files.read("stream", format="stream") as reader:
        async for chunk in reader:
            back += chunk
    assert back == b"".join([bytes([number]) * 50_000 for number in range(10)])


async def test_a_file_may_go_up_compressed(sandbox: AsyncSandbox) -> None:
    await sandbox.files.write("packed", b"x" * 100_000, gzip=True)
    assert (await sandbox.commands.run("wc -c < packed")).stdout.strip() == "100000"


async def test_directories_are_made_listed_renamed_and_removed(sandbox: AsyncSandbox) -> None:
    assert await sandbox.files.make_dir("a/b/c") is True
    assert await sandbox.files.make_dir("a/b/c") is False
    await sandbox.files.write("a/b/c/file", "x")
    assert [entry.path for entry in await sandbox.files.list("a")] == ["/home/user/a/b"]
    assert [entry.name for entry in await sandbox.files.list("a", depth=3)] == ["b", "c", "file"]
    assert (await sandbox.files.rename("a/b/c/file", "x/y/z")).path == "/home/user/x/y/z"
    assert await sandbox.files.exists("x/y/z")
    await sandbox.files.remove("x")
    await sandbox.files.remove("x")  # what is not there is a success
    assert not await sandbox.files.exists("x/y/z")


async def test_an_entry_tells_what_it_is(sandbox: AsyncSandbox) -> None:
    await sandbox.commands.run("echo 12345 > file; chmod 640 file; ln -s file link; ln -s nowhere dangling; mkdir dir")
    entry = await sandbox.files.get_info("file")
    assert (entry.type, entry.size, entry.mode, entry.permissions, entry.owner, entry.group) == (
        FileType.FILE, 6, 0o640, "-rw-r-----", "user", "user",
    )  # fmt: skip
    link = await sandbox.files.get_info("link")
    assert (link.type, link.symlink_target) == (FileType.FILE, "/home/user/file")
    assert (await sandbox.files.get_info("dir")).type is FileType.DIR
    assert (await sandbox.files.get_info("dangling")).type is None
    # The SDK leaves out what has no type.
    assert [entry.name for entry in await sandbox.files.list(".")] == ["dir", "file", "link"]


async def test_a_missing_file_is_told_so(sandbox: AsyncSandbox) -> None:
    for attempt in (
        sandbox.files.read("missing"), sandbox.files.list("missing"), sandbox.files.get_info("missing"),
        sandbox.files.rename("missing", "x"),
    ):  # fmt: skip
        with pytest.raises(FileNotFoundException):
            await attempt


async def test_a_directory_is_neither_read_nor_written(sandbox: AsyncSandbox) -> None:
    with pytest.raises(InvalidArgumentException):
        await sandbox.files.read("/tmp")
    with pytest.raises(InvalidArgumentException):
        await sandbox.files.write("/tmp", "x")
    await sandbox.files.write("file", "x")
    with pytest.raises(SandboxException, match="500"):
        await sandbox.files.write("file/below", "x")


async def test_a_signed_url_gives_the_file_as_it_is_and_in_parts(sandbox: AsyncSandbox) -> None:
    await sandbox.files.write("file", b"0123456789")
    url = sandbox.download_url("file", use_signature_expiration=60)
    route = {"E2b-Sandbox-Id": sandbox.sandbox_id, "E2b-Sandbox-Port": "49983", "Accept-Encoding": "identity"}
    async with httpx.AsyncClient(headers=route) as client:
        whole = await client.get(url)
        assert (whole.content, whole.headers["content-length"]) == (b"0123456789", "10")
        part = await client.get(url, headers={"Range": "bytes=2-4"})
        assert (part.status_code, part.content) == (206, b"234")
        assert (await client.get(url.replace("path=file", "path=other"))).status_code == 401


async def test_another_token_opens_nothing(sandbox: AsyncSandbox) -> None:
    route = {"E2b-Sandbox-Id": sandbox.sandbox_id, "E2b-Sandbox-Port": "49983", "X-Access-Token": "another"}
    base = sandbox.download_url("x").partition("/files")[0]
    async with httpx.AsyncClient(base_url=base, headers=route) as client:
        assert (await client.get("/files", params={"path": "x"})).status_code == 401
        assert (await client.post("/process.Process/List", json={})).status_code == 401
