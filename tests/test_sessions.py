"""The registry: which sessions this host knows, found without reading those that were not asked for."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gitmachine.errors import SessionNotFound
from gitmachine.sessions import Registry, SessionRecord
from gitmachine.settings import Settings
from gitmachine.types import MachineState


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(Settings(tmp_path))


def known(registry: Registry, branch: str, vault: str = "v") -> SessionRecord:
    store = registry.create(branch)
    record = SessionRecord(
        id=store.id,
        session=branch,
        repository="https://x.invalid/r",
        vault=vault,
        provider="p:P",
        machine=f"m-{store.id}",
        state=MachineState.RUNNING,
        repo_path="/r",
    )
    store.save(record)
    return record


@pytest.mark.parametrize("branch", ["fix", "feature/some thing", "-", "a" * 60, "ünï", "fix-1"])
def test_a_session_is_found_by_its_branch_and_by_its_id(registry: Registry, branch: str) -> None:
    for other in ("fix-12", "fi", "feature/some-thing", "session", "a" * 61):
        known(registry, other)
    older, newer = known(registry, branch, "one"), known(registry, branch, "two")
    assert [record.id for record in registry.called(branch)] == [older.id, newer.id]
    assert registry.find(branch).id == newer.id
    assert registry.find(branch, "one").id == older.id
    assert registry.called(older.id) == [older]
    assert registry.on_machine(f"m-{older.id}") == older


def test_the_first_sessions_on_a_host_may_begin_at_once(tmp_path: Path) -> None:
    for turn in range(10):
        registry = Registry(Settings(tmp_path / f"state-{turn}"))
        gate = threading.Barrier(8)

        def begin(registry: Registry = registry, gate: threading.Barrier = gate) -> None:
            gate.wait()
            registry.create("first")

        with ThreadPoolExecutor(8) as pool:
            for begun in [pool.submit(begin) for _ in range(8)]:
                begun.result()


def test_finding_one_reads_no_record_of_another(registry: Registry) -> None:
    wanted = known(registry, "wanted")
    for number in range(3):
        path = registry.store(known(registry, f"other-{number}").id).directory / "record.json"
        path.unlink()
        os.mkfifo(path)  # which would be waited for
    assert registry.find("wanted") == wanted


def test_what_is_no_session_of_ours_is_left_out(registry: Registry) -> None:
    wanted = known(registry, "wanted")
    sessions = registry.settings.sessions
    (sessions / "wanted-file").write_text("")
    (sessions / "wanted-empty").mkdir()
    (sessions / "wanted-broken").mkdir()
    (sessions / "wanted-broken" / "record.json").write_text("{")
    assert registry.called("wanted") == registry.records() == [wanted]
    assert len(registry.corrupt()) == 1
    for name in ("../sessions/wanted", "missing", ""):
        with pytest.raises(SessionNotFound, match="known: wanted"):
            registry.find(name)
