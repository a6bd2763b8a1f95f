"""The agent's byte code: what it is made of, when it is made again, and that a machine starts without it, too."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from gitmachine.machines.local import LocalMachine, bytecode
from gitmachine.machines.local.bytecode import compiled
from gitmachine.machines.local.probe import PYTHON

SOURCE = b"import sys\nprint('it runs', *sys.argv[1:])\n"


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    return tmp_path / "agent.pyc"


def test_it_does_what_its_source_does(kept: Path, tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_bytes(compiled(SOURCE, kept))
    assert program.read_bytes() != SOURCE
    done = subprocess.run([PYTHON, "-I", "-S", str(program), "3"], capture_output=True, check=True, text=True)
    assert done.stdout == "it runs 3\n"


def test_it_is_compiled_once(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = compiled(SOURCE, kept)
    monkeypatch.setattr(bytecode, "PYTHON", "/usr/bin/false")
    assert compiled(SOURCE, kept) == SOURCE  # that is another Python, so what is kept is no good
    monkeypatch.undo()
    before = kept.stat().st_ino
    assert compiled(SOURCE, kept) == first
    assert kept.stat().st_ino == before


@pytest.mark.parametrize("damage", [b"", b"x", bytes(100)])
def test_a_damaged_one_is_made_again(kept: Path, damage: bytes) -> None:
    first = compiled(SOURCE, kept)
    kept.write_bytes(kept.read_bytes()[:70] + damage)
    assert compiled(SOURCE, kept) == first
    assert kept.read_bytes().endswith(first)


def test_another_source_is_compiled_anew(kept: Path) -> None:
    first = compiled(SOURCE, kept)
    assert compiled(SOURCE + b"print()\n", kept) != first
    assert compiled(SOURCE, kept) == first


def test_where_it_cannot_be_kept_it_is_compiled_each_time(tmp_path: Path) -> None:
    nowhere = tmp_path / "missing" / "agent.pyc"
    assert compiled(SOURCE, nowhere) == compiled(SOURCE, nowhere) != SOURCE


def test_what_cannot_be_compiled_is_given_as_it_is(kept: Path) -> None:
    assert compiled(b"no Python", kept) == b"no Python"
    assert not kept.exists()


async def test_a_machine_starts_with_it_and_without(state_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for compile_it in (True, False):
        if not compile_it:
            (state_dir / "agent.pyc").unlink()
            monkeypatch.setattr(bytecode, "_COMPILE", "raise SystemExit(1)")
        machine = LocalMachine()
        await machine.start()
        try:
            assert (await machine.execute("echo up")).stdout == "up\n"
        finally:
            await machine.stop()
        assert (state_dir / "agent.pyc").exists() is compile_it
