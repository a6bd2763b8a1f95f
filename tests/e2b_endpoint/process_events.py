"""What envd tells of a command, in the SDK's generated types."""

from __future__ import annotations

import os
from typing import Literal

from e2b.envd.process import process_pb as pb
from protobuf import Oneof

_SIGNALS = {
    1: "hangup", 2: "interrupt", 3: "quit", 4: "illegal instruction", 6: "aborted", 8: "floating point exception",
    9: "killed", 11: "segmentation fault", 13: "broken pipe", 14: "alarm clock", 15: "terminated",
}  # fmt: skip
"""Go's names (syscall.Signal.String)."""


def end_event(status: int) -> pb.ProcessEvent.EndEvent:
    """As Go's os.ProcessState tells a wait status."""
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        name = _SIGNALS.get(-code, f"signal {-code}")
        text = f"signal: {name}" + (" (core dumped)" if os.WCOREDUMP(status) else "")
        return pb.ProcessEvent.EndEvent(exit_code=-1, exited=False, status=text, error=text)
    text = f"exit status {code}"
    return pb.ProcessEvent.EndEvent(exit_code=code, exited=True, status=text, error=text if code else None)


def output(kind: str, data: bytes) -> pb.ProcessEvent.DataEvent:
    """`kind`: stdout, stderr or pty."""
    given: Oneof[Literal["stdout"], bytes] = Oneof(kind, data)  # type: ignore[arg-type]  # or one of the other two
    return pb.ProcessEvent.DataEvent(output=given)


def started(pid: int) -> pb.ProcessEvent:
    event: Oneof[Literal["start"], pb.ProcessEvent.StartEvent] = Oneof("start", pb.ProcessEvent.StartEvent(pid=pid))
    return pb.ProcessEvent(event=event)


def ended(end: pb.ProcessEvent.EndEvent) -> pb.ProcessEvent:
    event: Oneof[Literal["end"], pb.ProcessEvent.EndEvent] = Oneof("end", end)
    return pb.ProcessEvent(event=event)


def keepalive() -> pb.ProcessEvent:
    event: Oneof[Literal["keepalive"], pb.ProcessEvent.KeepAlive] = Oneof("keepalive", pb.ProcessEvent.KeepAlive())
    return pb.ProcessEvent(event=event)


def some(data: pb.ProcessEvent.DataEvent) -> pb.ProcessEvent:
    event: Oneof[Literal["data"], pb.ProcessEvent.DataEvent] = Oneof("data", data)
    return pb.ProcessEvent(event=event)
