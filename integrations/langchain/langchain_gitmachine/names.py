"""The tools' names, as models see them and as `interrupt_on` needs them.

`HumanInTheLoopMiddleware(interrupt_on={names.PUSH: True})` compares whole names: with another one the tool runs
unasked and nothing warns. So take them from here.
"""

from __future__ import annotations

from typing import Final

RUN: Final = "gitmachine_run"
DIFF: Final = "gitmachine_diff"
COMMIT: Final = "gitmachine_commit"
PUSH: Final = "gitmachine_push"
PULL: Final = "gitmachine_pull"
PAUSE: Final = "gitmachine_pause"
RESUME: Final = "gitmachine_resume"
STATUS: Final = "gitmachine_status"
LOGS: Final = "gitmachine_logs"
READ_FILE: Final = "gitmachine_read_file"
WRITE_FILE: Final = "gitmachine_write_file"
EDIT_FILE: Final = "gitmachine_edit_file"
LIST_FILES: Final = "gitmachine_list_files"

READ_TOOLS: Final = (DIFF, STATUS, LOGS, READ_FILE, LIST_FILES)
"""Change nothing."""
WRITE_TOOLS: Final = (RUN, COMMIT, PUSH, PULL, PAUSE, RESUME, WRITE_FILE, EDIT_FILE)
PUBLISHING_TOOLS: Final = (PUSH,)
"""Reach beyond the session: what a person may want to approve."""
ALL_TOOLS: Final = (
    RUN, READ_FILE, WRITE_FILE, EDIT_FILE, LIST_FILES, STATUS, DIFF, LOGS, COMMIT, PUSH, PULL, PAUSE, RESUME,
)  # fmt: skip
