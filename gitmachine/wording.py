"""Events, entries, times and amounts in words, for the doors that show them to people."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # which loads pydantic, and `gitmachine --help` loads this
    from gitmachine.git.chain import HistoryEntry

_SHORT = 12


def short(sha: object) -> str:
    return str(sha)[:_SHORT] if sha else "no commit"


def describe(name: str, data: Mapping[str, Any]) -> str:
    """One line for an event; more where files are named."""
    match name:
        case "started":
            return f"session {data['session']} at {short(data.get('sha'))}"
        case "reconnected":
            return f"on machine {data['id']}"
        case "command_started":
            return f"$ {data['command']}"
        case "command_finished":
            ending = "timed out" if data["timed_out"] else f"exit {data['exit_code']}"
            return f"{ending} after {data['duration']:.2f} s" + (" (output cut)" if data["truncated"] else "")
        case "project":
            asked = [f"\n    granted: {item}" for item in data["granted"]]
            asked += [
                f"\n    not granted: {item.replace('to allow it: ', 'to allow it: --allow ')}"
                for item in data["refused"]
            ]
            return f"{data['file']} asks for" + "".join(asked)
        case "setup_failed":
            more = f"; {data['skipped']} more were not run" if data["skipped"] else ""
            return f"exit {data['exit_code']} of {data['command']}{more}\n{data['output']}".rstrip()
        case "network_refused":
            return f"{data['host']}:{data['port']}: it {data['reason']}"
        case "checkpointed":
            return f"{short(data['sha'])}: the working tree is in the vault"
        case "committed":
            return f"{short(data['sha'])} {_first_line(data['message'])}" + _withheld(data)
        case "withheld":
            return "nothing was committed" + _withheld(data)
        case "pushed":
            return f"branch {data.get('branch')} at {short(data.get('sha'))}"
        case "push_rejected":
            return f"{_first_line(data['reason'])}; the work is safe: {data['where']} {data.get('ref') or ''}".rstrip()
        case "push_held":
            return "kept back for the sake of: " + ", ".join(data["paths"])
        case "pulled":
            conflicts = data.get("conflicts")
            return f"at {short(data.get('sha'))}" + (f"; conflicts in {', '.join(conflicts)}" if conflicts else "")
        case "capture_incomplete":
            return f"{data['what']}: {data['reason']}"
        case "recovered":
            lost = "".join(f"\n    not restored: {item}" for item in data["not_restored"])
            return f"from checkpoint {short(data['checkpoint'])}" + lost
        case "replayed":
            again = f"{len(data['commands'])} commands of the first start were run again"
            failed = [str(one["number"]) for one in data["commands"] if one["exit_code"] != one["was"]]
            other = f"; otherwise than then ended {', '.join(failed)}" if failed else ""
            return again + other + (f"; not {len(data['skipped'])} that held a secret" if data["skipped"] else "")
        case "rewound":
            return f"to entry {data['to']}"
        case "forked":
            return f"{', '.join(data['sessions'])} from entry {data['number']}"
        case "callback_failed":
            return f"{data['callback']}: {data['error']}"
        case _:
            return ", ".join(f"{key}={value}" for key, value in data.items())


def _first_line(message: str) -> str:
    return message.partition("\n")[0]


def _withheld(data: Mapping[str, Any]) -> str:
    return "".join(f"\n    kept out: {item['path']} ({item['reason']})" for item in data.get("withheld", ()))


def duration(seconds: float) -> str:
    if seconds < 1:
        return f"{round(seconds * 1000)} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min {rest} s"


def age(since: datetime | None) -> str:
    if since is None:
        return "never"
    seconds = max(0, int((datetime.now(UTC) - since).total_seconds()))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit} ago"
    return "just now" if seconds < 10 else f"{seconds // 10 * 10} s ago"


def clock(at: datetime) -> str:
    """In this host's time, with the date unless it is today."""
    local = at.astimezone()
    return local.strftime("%H:%M:%S" if local.date() == datetime.now().astimezone().date() else "%d %b %H:%M")


def ending(entry: HistoryEntry) -> str:
    """How a command ended, in two words."""
    if entry.timed_out:
        return "timed out"
    return "no exit code" if entry.exit_code is None else f"exit {entry.exit_code}"


def tone(entry: HistoryEntry) -> str:
    if entry.kind not in ("command", "background"):
        return "quiet"
    return "good" if entry.exit_code == 0 and not entry.timed_out else "bad"


def headline(entry: HistoryEntry) -> str:
    """What stands in the timeline for an entry: the first line of the command, or what was done."""
    match entry.kind:
        case "start":
            return "Session began" if entry.number == 0 else "Went on in a new machine"
        case "rewind":
            return f"Rewound to #{entry.target}"
        case "fork":
            return f"Forked from #{entry.target}"
        case "outside":
            return "Changed outside of any command"
        case _:
            first, *rest = entry.command.strip().splitlines() or [""]
            return first + (" …" if rest else "")
