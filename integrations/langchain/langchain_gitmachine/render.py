"""What a model reads: the exit code first, head and tail of long text, and a line that says what was cut."""

from __future__ import annotations

from datetime import UTC, datetime

from gitmachine import ExecutionResult, LogEntry, PullOutcome, PushOutcome, Status


def shorten(text: str, limit: int) -> str:
    """At most about `limit` characters: the first and the last half, and between them how much is missing."""
    if len(text) <= limit:
        return text
    head, tail = limit // 2, limit - limit // 2
    cut = len(text) - limit
    return f"{text[:head]}\n[... {cut} characters cut ...]\n{text[len(text) - tail :]}"


def share(stdout: str, stderr: str, limit: int) -> tuple[str, str]:
    """Both within `limit` characters together; what one does not need the other gets."""
    for_stderr = max(limit // 2, limit - len(stdout))
    short = shorten(stderr, for_stderr)
    return shorten(stdout, max(limit // 2, limit - len(stderr))), short


def run_text(result: ExecutionResult, stdout: str, stderr: str, kept: str | None, *, cut: bool) -> str:
    """The result of a command, its output already cut to size. `kept` is where all of it is, if it was cut."""
    if result.timed_out:
        first = (
            f"timed out after {result.duration:.1f} s and was killed with all its children (exit code "
            f"{result.exit_code}); the output up to then:"
        )
    else:
        first = f"exit code {result.exit_code}"
    parts = [first]
    if stdout:
        parts.append(stdout.removesuffix("\n"))
    if stderr:
        parts.append(f"[stderr]\n{stderr.removesuffix(chr(10))}")
    if not stdout and not stderr:
        parts.append("[no output]")
    parts += [f"[{notice}]" for notice in result.notices]
    if kept is not None:
        parts.append(f"[the output was cut; all of it is in the machine's file {kept}]")
    elif cut:
        parts.append("[the output was cut, and the machine had no room for the whole of it: print less at a time]")
    return "\n".join(parts)


def file_text(text: str, start_line: int, max_lines: int, limit: int) -> str:
    """Lines of a file as they are, and how to get the rest."""
    lines = text.splitlines(keepends=True)
    first = max(start_line, 1)
    chosen: list[str] = []
    size = 0
    for line in lines[first - 1 : first - 1 + max_lines]:
        if chosen and size + len(line) > limit:
            break
        chosen.append(line)
        size += len(line)
    last = first - 1 + len(chosen)
    body = shorten("".join(chosen), limit)
    if first == 1 and last == len(lines):
        return body or "[the file is empty]"
    rest = f"; go on with start_line={last + 1}" if last < len(lines) else ""
    return f"{body.removesuffix(chr(10))}\n[lines {first} to {last} of {len(lines)}{rest}]"


def status_text(status: Status) -> str:
    """Branch, commit, changes."""
    branch = f"on branch {status.branch}" if status.branch else "on no branch (detached HEAD)"
    lines = [f"session {status.session}: {status.state}, {branch} at {(status.head or 'no commit yet')[:12]}"]
    if status.branch is not None and status.branch != status.session:
        lines.append(f"the session's own branch is {status.session}; commits are made there")
    lines.append(f"commits to push: {'yes' if status.unpushed else 'no'}")
    lines += [f"{change.status} {change.path}" for change in status.changes] or ["no changes to commit"]
    return "\n".join(lines)


def push_text(outcome: PushOutcome, session: str) -> str:
    """Where the work is."""
    match outcome.where:
        case "remote":
            return f"pushed {(outcome.sha or '')[:12]} to branch {session}"
        case "nothing":
            return "nothing to push: the remote has every commit; changes that are not committed are not pushed"
        case "rescue":
            return f"the branch was not moved ({outcome.reason}); the work is on the remote's branch {outcome.ref}"
        case "vault":
            return f"not on the remote ({outcome.reason or 'there is none'}); the work is safe on the host"


def pull_text(outcome: PullOutcome) -> str:
    """What came in."""
    if outcome.conflicts:
        return "merged, with conflicts left in: " + ", ".join(outcome.conflicts) + "\nresolve them, then commit"
    if outcome.updated:
        return f"merged; the checkout is at {(outcome.sha or '')[:12]}"
    return "nothing new on the remote"


def logs_text(entries: list[LogEntry], limit: int) -> str:
    """Commands, oldest first, each with the end of its output."""
    if not entries:
        return "no command has been run"
    each = max(200, limit // len(entries))
    return "\n".join(_log_text(entry, each) for entry in entries)


def _log_text(entry: LogEntry, limit: int) -> str:
    when = datetime.fromtimestamp(entry.timestamp, UTC).strftime("%H:%M:%S")
    result = entry.result
    output = shorten((result.stdout + result.stderr).strip(), limit - min(limit // 2, len(entry.command)))
    first = f"[{when}, exit code {result.exit_code}, {result.duration:.1f} s] $ {shorten(entry.command, limit // 2)}"
    return f"{first}\n{output}" if output else first
