"""`start`, `pause`, `resume`, `stop` and `status`."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import CallToolResult, InputRequiredResult
from pydantic import Field

from gitmachine import events as ev
from gitmachine.errors import ConfigurationError, PushHeld, PushRejected, RepositoryError, SessionNotFound, StateError
from gitmachine.types import MachineState, PushOutcome
from gitmachine_mcp import principal as principals
from gitmachine_mcp.commands import Command
from gitmachine_mcp.consent import can_ask, consent
from gitmachine_mcp.desk import LIVE, OpenSession, Wanted
from gitmachine_mcp.faults import explain
from gitmachine_mcp.handles import HandleRecord
from gitmachine_mcp.hub import as_data
from gitmachine_mcp.models import (
    CommandBrief,
    Overview,
    SessionBrief,
    SessionDetail,
    Started,
    StateChange,
    Stopped,
)
from gitmachine_mcp.tools.base import SessionArgument, answer
from gitmachine_mcp.tools.history import HistoryTools

_LISTED_CHANGES = 200
_LISTED_EVENTS = 100
_LISTED_SESSIONS = 50
_MAX_TTL_S = 24 * 3600


class LifecycleTools(HistoryTools):
    async def start(
        self,
        ctx: Context,
        repo: Annotated[
            str | None, Field(description="https or ssh address of a git repository. May be left out if one is preset.")
        ] = None,
        branch: Annotated[
            str | None,
            Field(description="The session's branch: one that exists goes on, another is made. Default: new."),
        ] = None,
        base: Annotated[str | None, Field(description="Branch, tag or commit that a new branch starts from.")] = None,
        resume: Annotated[
            str | None, Field(description="The handle of an earlier session to go on with, also one that has ended.")
        ] = None,
        ttl_s: Annotated[
            int, Field(ge=60, le=_MAX_TTL_S, description="Seconds without a call until it is put to sleep.")
        ] = 3600,
    ) -> Annotated[CallToolResult, Started]:
        """Start a session: a sandboxed Linux machine with the repository checked out on a branch of its own.

        Returns the handle that the other tools take as `session`. The session lives until `stop`; without a call for
        ttl_s seconds it is put to sleep, with its work safe, and the next call wakes it. After 7 more days it is ended,
        and its branch can be gone on with by `start` with `resume`.
        """
        caller = principals.current.get()
        if resume is not None:
            if repo or branch or base:
                raise ConfigurationError("`resume` names a session with its repository and branch: give it alone")
            found = await self.desk.take_up(caller, resume)
        else:
            preset = None if repo is not None else self.desk.preset(caller)
            wanted = Wanted(
                repository=self._checked(repo) if preset is None else preset.repository,
                branch=branch or (preset.branch if preset else None),
                base=base or (preset.base if preset else None),
                ttl_s=ttl_s,
            )
            found = await self.desk.start(caller, wanted)
        self.touch(found, max(0, found.store.events.count() - 2))
        data = await started(found)
        said = f"Session {data.session} works on branch {data.branch} of {data.repository}, in {data.path}."
        return answer(said, data)

    async def pause(self, ctx: Context, session: SessionArgument = None) -> Annotated[CallToolResult, StateChange]:
        """Commit the work and freeze the machine with its memory; `resume` lets everything go on where it was."""
        found = await self.session(session)
        changed = found.gm.state is MachineState.RUNNING
        if changed:
            await found.gm.pause()
        await self.desk.note(found, asleep=False)
        return _state(found, changed=changed)

    async def resume(self, ctx: Context, session: SessionArgument = None) -> Annotated[CallToolResult, StateChange]:
        """Let a paused session go on. One that has ended goes on by `start` with `resume`."""
        found = await self.session(session)
        changed = found.gm.state is MachineState.PAUSED
        if changed:
            await found.gm.resume()
        await self.desk.note(found, asleep=False)
        return _state(found, changed=changed)

    async def stop(
        self,
        ctx: Context,
        session: SessionArgument = None,
        discard: Annotated[
            bool, Field(description="A person wants it ended unpublished: nothing is pushed, only the vault keeps it.")
        ] = False,
        allow_protected: Annotated[
            bool, Field(description="A person wants the default or a protected branch itself to be pushed to.")
        ] = False,
    ) -> Annotated[CallToolResult, Stopped] | InputRequiredResult:
        """Commit everything, push the session branch and end the machine. It ends only when the work is safe.

        If the push does not succeed the session goes on and the answer says what to do.
        """
        found = await self._live(session)
        if discard:
            await self._agreed_to_discard(ctx, found, given=True)
            outcome = await found.gm.stop(push=False)
        else:
            await self.agreed_to_publish(ctx, found, allow_protected=allow_protected)
            outcome = await self._published(ctx, found)
        await self.desk.ended(found)
        unpublished = outcome.where == "vault"
        data = Stopped(
            session=found.handle, where=outcome.where, sha=outcome.sha, ref=outcome.ref, discarded=unpublished
        )
        where = {"remote": f"{outcome.sha} is on {found.gm.session}", "nothing": "there was nothing to push"}
        return answer(f"Ended; {where.get(outcome.where, f'not published: the vault has {outcome.sha}')}.", data)

    async def status(
        self,
        ctx: Context,
        session: SessionArgument = None,
        events_after: Annotated[
            int | None, Field(ge=0, description="Also tell what happened after the event of this number.")
        ] = None,
    ) -> Annotated[CallToolResult, Overview]:
        """Show a session: state, branch, changed files, what is not pushed, running commands, recent events.

        Without `session` your sessions are listed. Changes nothing.
        """
        caller = principals.current.get()
        records = self.desk.known(caller)
        briefs = [_brief(record, self.desk.state_of(record)) for record in records[:_LISTED_SESSIONS]]
        live = [record for record in records if self.desk.state_of(record) != "ended"]
        if session is None and len(live) == 1:
            session = live[0].handle
        if session is None:
            overview = Overview(sessions=briefs, detail=None, events=[], next_event=None)
            lines = [f"{brief.session}  {brief.state}  {brief.branch}  {brief.repository}" for brief in briefs]
            options = self.desk.options
            # Its address without the credentials that an operator may have put there.
            preset = None if options.repo is None else options.check_repository(options.repo)
            begins = "`start` begins one" if preset is None else f"`run` or `start` begins one on {preset}"
            return answer("\n".join(lines) or f"You have no session: {begins}.", overview)
        record = self.desk.handles.find(caller, session)
        if record is None:
            raise SessionNotFound(f"there is no session {session[:80]!r}: `status` without it lists yours")
        state = self.desk.state_of(record)
        found = None if state == "ended" else await self.session(session, used=False)
        events, last = await asyncio.to_thread(self._events, record, events_after)
        detail = None if found is None else await _detail(found, _brief(record, self.desk.state_of(record)))
        overview = Overview(
            sessions=[_brief(record, self.desk.state_of(record))], detail=detail, events=events, next_event=last
        )
        return answer(_described(overview), overview)

    # --- inside -----------------------------------------------------------------------------------------

    def _checked(self, repository: str | None) -> str:
        assert repository is not None
        self.desk.options.check_repository(repository)
        return repository

    async def _live(self, handle: str | None) -> OpenSession:
        """For `stop`, which must not start what it is to end."""
        caller = principals.current.get()
        if handle is None and not any(self.desk.state_of(record) != "ended" for record in self.desk.known(caller)):
            raise SessionNotFound("no session is live: there is nothing to stop")
        found = await self.session(handle)
        if found.gm.state not in LIVE:
            raise StateError(f"session {found.handle} has ended already")
        return found

    async def _agreed_to_discard(self, ctx: Context, found: OpenSession, *, given: bool) -> None:
        status = await found.gm.status()
        if not status.changes and not status.unpushed:
            return
        question = (
            f"End the session on {found.gm.session!r} and leave its work unpublished ({len(status.changes)} changed "
            f"files, commits not pushed: {'yes' if status.unpushed else 'no'})? Only the server's vault keeps it."
        )
        await consent(ctx, question, key=f"discard {found.handle}", given=given, argument="discard=true")

    async def _published(self, ctx: Context, found: OpenSession) -> PushOutcome:
        """Ends the session with a push; where that fails, a person may be content with the vault."""
        if ctx.request_state != f"discard {found.handle}":
            try:
                return await found.gm.stop()
            except (PushRejected, PushHeld, RepositoryError) as error:
                if not can_ask(ctx):
                    more = "Or, if a person is content with the vault: `stop` with discard=true."
                    raise ToolError(f"{explain(error)}\n{more}") from error
        await self._agreed_to_discard(ctx, found, given=False)
        return await found.gm.stop(push=False)

    def _events(self, record: HandleRecord, after: int | None) -> tuple[list[dict[str, Any]], int]:
        log = self.desk.registry.store(record.session_id).events
        start = max(0, log.count() - 10) if after is None else after
        events = log.read(start, _LISTED_EVENTS)
        return [as_data(record.handle, event) for event in events], events[-1].seq if events else start


async def started(found: OpenSession) -> Started:
    record = found.gm.record
    latest = await asyncio.to_thread(found.store.events.read, max(0, found.store.events.count() - _LISTED_EVENTS))
    sha = next((event.sha for event in reversed(latest) if isinstance(event, ev.Started)), None)
    return Started(
        session=found.handle,
        branch=record.session,
        repository=record.repository,
        base_sha=record.base,
        head_sha=sha,
        state=str(found.gm.state),
        path=record.repo_path,
        expires_at=found.record.expires_at.isoformat(),
    )


def _state(found: OpenSession, *, changed: bool) -> CallToolResult:
    data = StateChange(session=found.handle, state=str(found.gm.state), changed=changed)
    return answer(f"The session is {data.state}{'' if changed else ' already'}.", data)


def _brief(record: HandleRecord, state: str) -> SessionBrief:
    return SessionBrief(
        session=record.handle,
        branch=record.branch,
        repository=record.repository,
        state=state,
        expires_at=record.expires_at.isoformat(),
    )


async def _detail(found: OpenSession, brief: SessionBrief) -> SessionDetail:
    status = await found.gm.status()
    changes = [f"{change.status} {change.path}" for change in status.changes]
    return SessionDetail(
        **brief.model_dump(),
        head=status.head,
        checked_out=status.branch,
        unpushed=status.unpushed,
        changes=changes[:_LISTED_CHANGES],
        changes_total=len(changes),
        running=[_command(command) for command in found.commands.running()],
    )


def _command(command: Command) -> CommandBrief:
    note = command.note
    return CommandBrief(command_id=note.id, command=note.command[:200], state=note.state, exit_code=note.exit_code)


def _described(overview: Overview) -> str:
    brief, detail = overview.sessions[0], overview.detail
    lines = [f"{brief.session} is {brief.state}, on branch {brief.branch} of {brief.repository}."]
    if detail is not None:
        lines.append(
            f"At {detail.head}; {'not all is pushed' if detail.unpushed else 'everything committed is pushed'}."
        )
        lines += [f"{detail.changes_total} files are not committed:", *detail.changes[:50]] if detail.changes else []
        lines += [f"running: {command.command_id} {command.command}" for command in detail.running]
    lines += [f"event {event['seq']}: {event['type']}" for event in overview.events[-20:]]
    return "\n".join(lines)
