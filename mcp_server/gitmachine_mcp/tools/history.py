"""`diff`, `commit`, `push` and `pull`."""

from __future__ import annotations

import asyncio
from typing import Annotated

from mcp.server.mcpserver import Context
from mcp_types import CallToolResult, InputRequiredResult
from pydantic import Field

from gitmachine import events as ev
from gitmachine.errors import ConfigurationError
from gitmachine_mcp.consent import consent
from gitmachine_mcp.desk import OpenSession
from gitmachine_mcp.limits import MAX_CHARS, number_of, room
from gitmachine_mcp.models import Committed, Diff, Pulled, Pushed
from gitmachine_mcp.patches import Patch
from gitmachine_mcp.tools.base import SessionArgument, Tools, answer

_LISTED_FILES = 200


class HistoryTools(Tools):
    async def diff(
        self,
        ctx: Context,
        session: SessionArgument = None,
        base: Annotated[
            str,
            Field(description='"HEAD": not yet committed; "session": since the session began; or a branch, commit.'),
        ] = "HEAD",
        paths: Annotated[list[str] | None, Field(description="Only these files or directories.")] = None,
        stat_only: Annotated[bool, Field(description="Only which files, and how many lines.")] = False,
        cursor: Annotated[
            str | None, Field(description="`next_cursor` of the answer before, with the same arguments.")
        ] = None,
        max_chars: Annotated[int, Field(ge=200, le=MAX_CHARS)] = 20_000,
    ) -> Annotated[CallToolResult, Diff]:
        """Show what the working tree changes, untracked files included, as a patch. It disturbs nothing.

        A long patch comes in pieces: pass `next_cursor` on until it is null.
        """
        found = await self.session(session)
        patch = await _patch(found, base, paths, cursor)
        files = patch.files
        start = number_of(cursor.partition(".")[2]) if cursor else 0
        piece = "" if stat_only else patch.text[start : start + max_chars]
        piece = piece[: room(piece, max_chars)]
        end = start + len(piece)
        more = not stat_only and end < len(patch.text)
        data = Diff(
            session=found.handle,
            base=base,
            files=files[:_LISTED_FILES],
            files_total=len(files),
            patch=piece,
            total_chars=len(patch.text),
            truncated=more or start > 0,
            next_cursor=f"{patch.name}.{end}" if more else None,
        )
        lines = [f"{file.path} +{file.added} -{file.removed}" for file in files[:_LISTED_FILES]]
        text = "\n".join(lines) if stat_only else piece
        return answer(text or "No changes.", data)

    async def commit(
        self,
        ctx: Context,
        message: Annotated[str, Field(min_length=1, max_length=20_000, description="The commit message.")],
        session: SessionArgument = None,
        paths: Annotated[list[str] | None, Field(description="Only these; naming a path overrides the guard.")] = None,
    ) -> Annotated[CallToolResult, Committed]:
        """Put all changes of the working tree, untracked files included, on the session branch.

        With nothing to commit `sha` is null; that is no error. A guard keeps private keys, .env files and too large
        files out and names them in `withheld`; nothing of them is lost. Nothing is published: that is `push`.
        """
        found = await self.session(session)
        before = found.store.events.count()
        sha = await found.gm.commit(message, paths=paths)
        withheld = await asyncio.to_thread(_withheld, found, before)
        data = Committed(session=found.handle, sha=sha, branch=found.gm.session, withheld=withheld)
        text = f"Committed {sha} on {found.gm.session}." if sha else "There was nothing to commit."
        if withheld:
            text += " Kept out: " + "; ".join(f"{item['path']} ({item['reason']})" for item in withheld[:20])
        return answer(text, data)

    async def push(
        self,
        ctx: Context,
        session: SessionArgument = None,
        allow: Annotated[
            list[str] | None, Field(description="Paths that the guard held back and a person wants published.")
        ] = None,
        allow_protected: Annotated[
            bool, Field(description="A person wants the default or a protected branch itself to be pushed to.")
        ] = False,
    ) -> Annotated[CallToolResult, Pushed] | InputRequiredResult:
        """Publish the commits of the session branch on the remote. Never forced, no other branch is touched.

        Only what is committed is published. The server has the credentials; there are none in the machine, so
        `git push` in `run` cannot work.
        """
        found = await self.session(session)
        await self.agreed_to_publish(ctx, found, allow_protected=allow_protected)
        if allow:
            question = f"Publish what the guard holds back of {found.gm.session}: {', '.join(allow)[:500]}?"
            await consent(ctx, question, key=f"push {found.handle} {sorted(allow)}", given=True, argument="`allow`")
        outcome = await found.gm.push(allow=allow or ())
        data = Pushed(session=found.handle, where=outcome.where, sha=outcome.sha, ref=outcome.ref)
        text = {
            "remote": f"The remote has {outcome.sha} on {found.gm.session}.",
            "nothing": "The remote has everything that is committed.",
        }.get(outcome.where, f"Not on the session branch: {outcome.reason}. The work is in {outcome.ref}.")
        return answer(text, data)

    async def pull(self, ctx: Context, session: SessionArgument = None) -> Annotated[CallToolResult, Pulled]:
        """Merge what others have pushed to the session branch into the checkout.

        Conflicts are no error: the files are named, and have conflict markers to settle; then `commit`.
        """
        found = await self.session(session)
        outcome = await found.gm.pull()
        data = Pulled(session=found.handle, sha=outcome.sha, updated=outcome.updated, conflicts=list(outcome.conflicts))
        if outcome.conflicts:
            return answer(f"Conflicts to settle, then `commit`: {', '.join(outcome.conflicts)}", data)
        return answer(f"Now at {outcome.sha}." if outcome.updated else "There was nothing new.", data)

    async def agreed_to_publish(self, ctx: Context, found: OpenSession, *, allow_protected: bool) -> None:
        """A branch that others build on is pushed to with a person's consent only."""
        branch = found.gm.session
        if self.desk.options.is_protected(branch, found.gm.record.base_branch):
            await consent(
                ctx,
                f"Push to {branch!r} itself, which is the default or a protected branch of {found.record.repository}?",
                key=f"publish {found.handle}",
                given=allow_protected,
                argument="allow_protected=true",
            )


async def _patch(found: OpenSession, base: str, paths: list[str] | None, cursor: str | None) -> Patch:
    """One that a cursor points into is made again when it is no longer at hand."""
    name = cursor.partition(".")[0] if cursor else None
    if found.patch is not None and found.patch.name == name:
        return found.patch
    found.patch = await asyncio.to_thread(Patch.of, await found.gm.diff(base, paths))
    if name is not None and name != found.patch.name:
        raise ConfigurationError("the working tree has changed since that cursor: call `diff` again without `cursor`")
    return found.patch


def _withheld(found: OpenSession, before: int) -> list[dict[str, str]]:
    for event in reversed(found.store.events.read(before)):
        if isinstance(event, ev.Committed | ev.Withheld):
            return event.withheld
    return []
