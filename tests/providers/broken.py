"""Machines that break the contract on purpose; run by `test_contract_checks_itself` alone."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest

from gitmachine.machine import Machine
from gitmachine.testing import MachineContract
from gitmachine.types import ExecuteOptions, ExecutionResult, MachineState
from tests.providers.plain import PlainMachine
from tests.providers.test_plain import TestPlainMachine as Plain


class BrokenMachine(PlainMachine):
    """Breaks a dozen rules, each in the way that providers have been seen to break it."""

    id: str | None = "not-yet"

    async def start(self) -> None:
        if self.state is not MachineState.RUNNING:
            await super().start()

    async def resume(self) -> None:
        if self.state is not MachineState.RUNNING:
            await super().resume()

    async def execute(self, command: str, options: ExecuteOptions | None = None) -> ExecutionResult:
        options = options or ExecuteOptions()
        stdin = options.stdin.replace(b"\0", b"") if isinstance(options.stdin, bytes) else options.stdin
        env = {**os.environ, "HOME": str(self.id), **options.env}
        cwd = options.cwd
        if cwd is not None and not Path(str(self.id), cwd).exists():
            cwd = None
        result = await super().execute(command, replace(options, stdin=stdin, env=env, cwd=cwd))
        return replace(
            result,
            exit_code=128 - result.exit_code if 128 < result.exit_code < 160 else result.exit_code,
            stdout="" if result.timed_out else result.stdout.replace("\r\n", "\n"),
            timed_out=result.timed_out or result.exit_code == 124,
            truncated=False,
            duration=0.0,
        )

    async def read_file(self, path: str) -> str:
        with suppress(FileNotFoundError):
            return await super().read_file(path)
        return ""

    async def list_files(self, path: str) -> list[str]:
        return [name for name in await super().list_files(path) if not name.startswith(".")]


class TestBrokenMachine(MachineContract):
    deviations = Plain.deviations

    @pytest.fixture
    def machine(self, state_dir: Path) -> Machine:
        return BrokenMachine()


class TestFalseDeviations(MachineContract):
    deviations: ClassVar[Mapping[str, str]] = {
        "test_a_zero_exit_is_ok": "it is, so this is not true",
        "test_there_is_no_such_row": "a slip of the pen",
    }

    @pytest.fixture
    def machine(self, state_dir: Path) -> Machine:
        return PlainMachine()


class TestRedefinition(MachineContract):
    def test_a_nonzero_exit_is_a_result(self) -> None:
        """Would hide a row, were it not put back and reported."""

    @pytest.fixture
    def machine(self, state_dir: Path) -> Machine:
        return PlainMachine()
