"""Reading, writing and listing files, whatever their names."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from gitmachine.machine import Machine
from gitmachine.testing._behaviour import Suite, behaviour
from gitmachine.types import ExecuteOptions

NAMES = (
    "plain.txt",
    "with space",
    "it's",
    'say "hi"',
    "-rf",
    "--help",
    "new\nline",
    "$(touch pwned)",
    "`touch pwned`",
    "a;b&c|d",
    "back\\slash",
    "*?[x]",
    "~",
    "é日本😀",
    "#hash",
)


class Files(Suite):
    """Rows about `read_file`, `write_file`, `list_files` and what is built on them."""

    @behaviour
    async def test_text_is_read_as_it_was_written(self, machine: Machine) -> None:
        for text in ("", "one", "é€😀\n", " \n\tlines\r\nand more\n\n", "x" * 1_000_000):
            await machine.write_file("file", text)
            assert await machine.read_file("file") == text

    @behaviour
    async def test_bytes_are_read_as_they_were_written(self, machine: Machine) -> None:
        for content in (b"", b"\0", bytes(range(256)) * 100, b"\xff\xfe\n\r\n", b"\0" * 300_000):
            await machine.write_file("file", content)
            assert await machine.read_bytes("file") == content

    @behaviour
    async def test_a_stream_of_bytes_is_written_in_order(self, machine: Machine) -> None:
        pieces = [b"one\0", b"", b"\xff" * 100_000, b"three\n"]

        async def stream() -> AsyncIterator[bytes]:
            for piece in pieces:
                yield piece

        await machine.write_bytes("dir/file", stream())
        assert await machine.read_bytes("dir/file") == b"".join(pieces)

    @behaviour
    async def test_files_and_commands_see_the_same(self, machine: Machine) -> None:
        await machine.write_file("file", "written\n")
        assert (await machine.execute("cat file; echo made >other")).stdout == "written\n"
        assert await machine.read_file("other") == "made\n"

    @behaviour
    async def test_writing_replaces_what_was_there(self, machine: Machine) -> None:
        await machine.write_file("file", "a long first text")
        await machine.write_file("file", "short")
        assert await machine.read_file("file") == "short"

    @behaviour
    async def test_writing_makes_the_directories_above(self, machine: Machine) -> None:
        await machine.write_file("a/b c/d/file", "deep")
        assert await machine.read_file("a/b c/d/file") == "deep"

    @behaviour
    async def test_any_name_can_be_written_read_listed_and_removed(self, machine: Machine) -> None:
        for name in NAMES:
            await machine.write_file(f"names/{name}", name)
            assert await machine.read_file(f"names/{name}") == name
            assert await machine.read_bytes(f"names/{name}") == name.encode()
        assert await machine.list_files("names") == sorted(NAMES)
        for name in NAMES:
            assert await machine.exists(f"names/{name}")
            await machine.remove(f"names/{name}")
        assert await machine.list_files("names") == []
        assert not await machine.exists("pwned")

    @behaviour
    async def test_a_name_with_a_leading_dash_needs_no_directory_before_it(self, machine: Machine) -> None:
        await machine.write_file("-n", "dash")
        assert (await machine.read_file("-n"), await machine.read_bytes("-n")) == ("dash", b"dash")
        await machine.make_dir("-d")
        assert await machine.list_files("-d") == []
        await machine.remove("-n")
        assert await machine.exists("-d")
        assert not await machine.exists("-n")

    @behaviour
    async def test_relative_paths_start_at_home_and_absolute_ones_at_the_root(self, machine: Machine) -> None:
        home = await machine.home()
        assert home.startswith("/")
        await machine.write_file("here", "same")
        assert await machine.read_file(f"{home}/here") == "same"
        assert await machine.list_files(home) == await machine.list_files(".")

    @behaviour
    async def test_a_listing_is_sorted_and_has_hidden_names_and_directories(self, machine: Machine) -> None:
        await machine.execute("mkdir -p dir/sub && cd dir && touch b a .hidden B 10 9 && ln -s nowhere link")
        assert await machine.list_files("dir") == sorted(["b", "a", ".hidden", "B", "10", "9", "link", "sub"])

    @behaviour
    async def test_reading_what_is_not_there_is_file_not_found(self, machine: Machine) -> None:
        for path in ("nothing", "no/such/dir/file", "/no-such-file"):
            with pytest.raises(FileNotFoundError):
                await machine.read_file(path)
            with pytest.raises(FileNotFoundError):
                await machine.read_bytes(path)
            with pytest.raises(FileNotFoundError):
                await machine.list_files(path)
            with pytest.raises(FileNotFoundError):
                await machine.remove(path)

    @behaviour
    async def test_reading_a_directory_is_is_a_directory(self, machine: Machine) -> None:
        await machine.make_dir("dir")
        with pytest.raises(IsADirectoryError):
            await machine.read_file("dir")
        with pytest.raises(IsADirectoryError):
            await machine.read_bytes("dir")

    @behaviour
    async def test_listing_a_file_is_not_a_directory(self, machine: Machine) -> None:
        await machine.write_file("file", "x")
        with pytest.raises(NotADirectoryError):
            await machine.list_files("file")

    @behaviour
    async def test_writing_onto_a_directory_or_below_a_file_is_an_os_error(self, machine: Machine) -> None:
        await machine.make_dir("dir")
        await machine.write_file("file", "x")
        for path in ("dir", "file/below"):
            with pytest.raises(OSError, match=path.partition("/")[0]):
                await machine.write_file(path, "y")
        assert await machine.read_file("file") == "x"

    @behaviour
    async def test_a_failed_read_names_the_file(self, machine: Machine) -> None:
        with pytest.raises(OSError, match="no-such-name"):
            await machine.read_file("no-such-name")

    @behaviour
    async def test_links_are_followed_and_dangling_ones_exist(self, machine: Machine) -> None:
        await machine.execute("echo x >file; ln -s file link; ln -s nowhere dangling")
        assert await machine.read_file("link") == "x\n"
        assert await machine.exists("dangling")
        with pytest.raises(FileNotFoundError):
            await machine.read_file("dangling")

    @behaviour
    async def test_a_directory_is_made_once_and_removed_with_all_that_is_in_it(self, machine: Machine) -> None:
        await machine.make_dir("a/b")
        await machine.make_dir("a/b")
        await machine.write_file("a/b/c", "x")
        await machine.remove("a")
        assert not await machine.exists("a")

    @behaviour
    async def test_a_written_script_can_be_made_to_run(self, machine: Machine) -> None:
        await machine.write_file("script", '#!/bin/sh\necho "ran $1"\n')
        result = await machine.execute("chmod +x script && ./script well", ExecuteOptions(timeout=20))
        assert result.stdout == "ran well\n"
