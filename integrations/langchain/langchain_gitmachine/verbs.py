"""The thirteen tools."""

from __future__ import annotations

from typing import Any, Literal

from langchain_core.tools.base import ArgsSchema

from gitmachine import GitMachine
from gitmachine.types import OutputCallback
from langchain_gitmachine import arguments as args
from langchain_gitmachine import artifacts, full_output, names, render
from langchain_gitmachine.streams import Stream
from langchain_gitmachine.tools import Answer, GitMachineTool


class Run(GitMachineTool):
    name: str = names.RUN
    description: str = (
        "Runs a shell command in the repository's directory of a sandboxed machine and answers with its exit code and "
        "output. Files and background processes live on between commands; the working directory and shell variables "
        "do not. The state of the files is saved after each command."
    )
    args_schema: ArgsSchema | None = args.RunArguments

    async def use(self, gm: GitMachine, stream: Stream, asked: args.RunArguments) -> Answer:
        limit = self.limits.bound(asked.timeout, gm.timeout)
        result = await gm.run(
            asked.command,
            cwd=asked.cwd,
            timeout=limit,
            on_stdout=_to(stream, "stdout"),
            on_stderr=_to(stream, "stderr"),
        )
        stdout, stderr = render.share(result.stdout, result.stderr, self.limits.max_output_chars)
        cut = result.truncated or (stdout, stderr) != (result.stdout, result.stderr)
        kept = await full_output.keep(gm, result) if cut else None
        artifact = artifacts.run_artifact(result, stdout, stderr, kept)
        return render.run_text(result, stdout, stderr, kept, cut=cut), artifact


class ReadFile(GitMachineTool):
    name: str = names.READ_FILE
    description: str = "Reads a text file of the repository."
    args_schema: ArgsSchema | None = args.ReadFileArguments

    async def use(self, gm: GitMachine, stream: Stream, asked: args.ReadFileArguments) -> Answer:
        text = await gm.read_file(asked.path)
        shown = render.file_text(text, asked.start_line, asked.max_lines, self.limits.max_output_chars)
        return shown, artifacts.FileArtifact(path=asked.path, size=len(text))


class WriteFile(GitMachineTool):
    name: str = names.WRITE_FILE
    description: str = "Writes a whole text file of the repository, a new one or over the one there is."
    args_schema: ArgsSchema | None = args.WriteFileArguments

    async def use(self, gm: GitMachine, stream: Stream, asked: args.WriteFileArguments) -> Answer:
        await gm.write_file(asked.path, asked.content)
        await make_durable(gm)
        return f"wrote {len(asked.content)} characters to {asked.path}", artifacts.FileArtifact(
            path=asked.path, size=len(asked.content)
        )


class EditFile(GitMachineTool):
    name: str = names.EDIT_FILE
    description: str = (
        "Replaces one piece of text in a file of the repository. The old text must be there exactly once."
    )
    args_schema: ArgsSchema | None = args.EditFileArguments

    async def use(self, gm: GitMachine, stream: Stream, asked: args.EditFileArguments) -> Answer:
        await gm.edit_file(asked.path, asked.old, asked.new)
        await make_durable(gm)
        return f"replaced in {asked.path}", artifacts.FileArtifact(path=asked.path, size=len(asked.new))


class ListFiles(GitMachineTool):
    name: str = names.LIST_FILES
    description: str = "Lists the names in a directory of the repository."
    args_schema: ArgsSchema | None = args.ListFilesArguments

    async def use(self, gm: GitMachine, stream: Stream, asked: args.ListFilesArguments) -> Answer:
        found = await gm.list_files(asked.path)
        shown = render.shorten("\n".join(found), self.limits.max_output_chars)
        return shown or "[the directory is empty]", artifacts.ListArtifact(path=asked.path, names=found)


class Status(GitMachineTool):
    name: str = names.STATUS
    description: str = "Tells the session's branch, the files that were changed and whether there is something to push."
    args_schema: ArgsSchema | None = args.Arguments

    async def use(self, gm: GitMachine, stream: Stream, asked: args.Arguments) -> Answer:
        status = await gm.status()
        shown = render.shorten(render.status_text(status), self.limits.max_output_chars)
        return shown, artifacts.status_artifact(status)


class Diff(GitMachineTool):
    name: str = names.DIFF
    description: str = "Shows what was changed in the repository, new files included, as a patch."
    args_schema: ArgsSchema | None = args.DiffArguments

    async def use(self, gm: GitMachine, stream: Stream, asked: args.DiffArguments) -> Answer:
        diff = await gm.diff(asked.base, asked.paths, stat=asked.stat)
        shown = render.shorten(diff, self.limits.max_output_chars)
        return shown or "no changes", artifacts.DiffArtifact(diff=diff, truncated=shown != diff)


class Logs(GitMachineTool):
    name: str = names.LOGS
    description: str = "Lists the commands that were run in this session, with their exit codes and the output's ends."
    args_schema: ArgsSchema | None = args.LogsArguments

    async def use(self, gm: GitMachine, stream: Stream, asked: args.LogsArguments) -> Answer:
        entries = gm.logs()[-asked.last :]
        return render.logs_text(entries, self.limits.max_output_chars), artifacts.logs_artifact(entries)


class Commit(GitMachineTool):
    name: str = names.COMMIT
    description: str = "Commits all changes, new files included, to the session's branch. Does not push."
    args_schema: ArgsSchema | None = args.CommitArguments

    async def use(self, gm: GitMachine, stream: Stream, asked: args.CommitArguments) -> Answer:
        sha = await gm.commit(asked.message)
        shown = f"committed {sha[:12]}" if sha else "nothing was committed: there are no changes that may be"
        return shown, artifacts.CommitArtifact(sha=sha, message=asked.message if sha else None)


class Push(GitMachineTool):
    name: str = names.PUSH
    description: str = "Pushes the session's commits to its branch on the remote."
    args_schema: ArgsSchema | None = args.Arguments

    async def use(self, gm: GitMachine, stream: Stream, asked: args.Arguments) -> Answer:
        outcome = await gm.push()
        return render.push_text(outcome, gm.session), artifacts.push_artifact(outcome)


class Pull(GitMachineTool):
    name: str = names.PULL
    description: str = "Merges what is new on the session's branch on the remote; conflicts are left in the files."
    args_schema: ArgsSchema | None = args.Arguments

    async def use(self, gm: GitMachine, stream: Stream, asked: args.Arguments) -> Answer:
        outcome = await gm.pull()
        return render.pull_text(outcome), artifacts.pull_artifact(outcome)


class Pause(GitMachineTool):
    name: str = names.PAUSE
    description: str = (
        f"Saves all work and freezes the machine; commands then need {names.RESUME} first. Processes keep their memory "
        "where the machine can do that."
    )
    args_schema: ArgsSchema | None = args.Arguments

    async def use(self, gm: GitMachine, stream: Stream, asked: args.Arguments) -> Answer:
        await gm.pause()
        return "paused", artifacts.StateArtifact(state=gm.state.value, session=gm.session)


class Resume(GitMachineTool):
    name: str = names.RESUME
    description: str = "Lets a paused machine go on."
    args_schema: ArgsSchema | None = args.Arguments

    async def use(self, gm: GitMachine, stream: Stream, asked: args.Arguments) -> Answer:
        await gm.resume()
        return "running", artifacts.StateArtifact(state=gm.state.value, session=gm.session)


TOOLS: dict[str, type[GitMachineTool]] = {
    kind.model_fields["name"].default: kind
    for kind in (
        Run, ReadFile, WriteFile, EditFile, ListFiles, Status, Diff, Logs, Commit, Push, Pull, Pause, Resume,
    )
}  # fmt: skip


async def make_durable(gm: GitMachine) -> None:
    """The working tree into the vault, as after a command; file calls alone do not do it."""
    if gm.record.checkpoint == "command":
        await gm.status()


def _to(stream: Stream, channel: Literal["stdout", "stderr"]) -> OutputCallback:
    async def on_output(text: str) -> Any:
        await stream.output(channel, text)

    return on_output
