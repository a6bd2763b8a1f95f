"""`rewind` and `fork`: going back, and going two ways."""

from __future__ import annotations

from typing import Annotated

from mcp.server.mcpserver import Context
from mcp_types import CallToolResult
from pydantic import Field

from gitmachine_mcp import principal as principals
from gitmachine_mcp.machines import new_machine
from gitmachine_mcp.models import Rewound, Started
from gitmachine_mcp.tools.base import SessionArgument, Tools, answer
from gitmachine_mcp.tools.lifecycle import started


class PastTools(Tools):
    async def rewind(
        self,
        to: Annotated[
            int, Field(description="A step of `logs` without command_id; 0: where it began; -1: the newest step.")
        ],
        ctx: Context,
        session: SessionArgument = None,
    ) -> Annotated[CallToolResult, Rewound]:
        """Put the files of the working tree back to what an earlier step left, untracked files included.

        Commits, branches and ignored files stay as they are. Nothing is lost: the rewind is a step of its own, and a
        rewind to the number in `undo` takes it back.
        """
        found = await self.session(session, awake=True)
        rewind = await found.gm.rewind(to)
        data = Rewound(
            session=found.handle,
            to=rewind.to,
            undo=rewind.entry.number - 1,
            files_changed=rewind.entry.changed,
            left=list(rewind.left[:200]),
        )
        return answer(f"{data.files_changed} files are as step {data.to} left them; undo: rewind to {data.undo}.", data)

    async def fork(
        self,
        branch: Annotated[str, Field(description="The branch of the new session.")],
        ctx: Context,
        session: SessionArgument = None,
        at: Annotated[
            int | None, Field(description="A step of `logs` without command_id; default: as it is now.")
        ] = None,
    ) -> Annotated[CallToolResult, Started]:
        """Start a second session from this one, in a machine of its own, to try another way beside it.

        It begins with this session's files, what is not committed included, on a new branch. Both go on.
        """
        found = await self.session(session)
        self.desk.check_room(principals.current.get())
        gm = await found.gm.fork(branch, at, new_machine(self.desk.options))
        made = self.touch(await self.desk.forked(principals.current.get(), found, gm), 0)
        data = await started(made)
        return answer(f"Session {data.session} goes its own way on branch {data.branch}.", data)
