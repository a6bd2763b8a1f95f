"""GitMachineSandboxProvider: sandboxes for the program `dcode` (deepagents-code), found by its entry point."""

from __future__ import annotations

from typing import Any

from gitmachine import LocalMachine, MachineError, MachineState, MissingExtra, Registry, SessionNotFound
from gitmachine.sync import GitMachine
from langchain_gitmachine.sandbox import GitMachineSandbox
from langchain_gitmachine.threads import stop_safely

try:
    from deepagents_code.integrations.sandbox_provider import (
        SandboxInstallHint,
        SandboxNotFoundError,
        SandboxProvider,
        SandboxProviderMetadata,
    )
except ModuleNotFoundError as error:
    raise MissingExtra("GitMachineSandboxProvider is for the program dcode: install deepagents-code") from error

WORKING_DIR = "/home/user/repo"


class GitMachineSandboxProvider(SandboxProvider):  # type: ignore[misc]  # an application's class, without types here
    """Sessions on LocalMachine: `get_or_create` starts one or takes one up, `delete` pushes and ends it.

    Options: `repository`, `session`, `network` and whatever else gitmachine.GitMachine takes. The token comes from the
    environment or the host's git credentials, never from an option.
    """

    @property
    def metadata(self) -> SandboxProviderMetadata:
        return SandboxProviderMetadata(
            name="gitmachine",
            working_dir=WORKING_DIR,
            install=SandboxInstallHint(kind="package", name="gitmachine-sdk[deepagents]"),
            supports_sandbox_id=True,
            supports_snapshot_name=False,
            backend_module="langchain_gitmachine",
        )

    def get_or_create(
        self,
        *,
        sandbox_id: str | None = None,
        repository: str | None = None,
        network: str | None = None,
        **kwargs: Any,
    ) -> GitMachineSandbox:
        """`sandbox_id` is a machine's id, a session's, or its branch. Raises SandboxNotFoundError."""
        if sandbox_id is not None:
            gm = _find(sandbox_id)
            if gm.state is MachineState.PAUSED:
                gm.resume()
            return GitMachineSandbox(gm)
        gm = GitMachine(LocalMachine(network=network), repository, **kwargs)
        gm.start()
        return GitMachineSandbox(gm)

    def delete(self, *, sandbox_id: str, **kwargs: Any) -> None:
        """Commits, pushes and ends the session; what the remote does not take stays in the vault."""
        gm = _find(sandbox_id)
        gm.owner.run(stop_safely(gm.asynchronous))


def _find(sandbox_id: str) -> GitMachine:
    known = Registry().on_machine(sandbox_id)
    try:
        return GitMachine.reopen(known.id if known is not None else sandbox_id)
    except (SessionNotFound, MachineError) as error:
        raise SandboxNotFoundError(sandbox_id) from error
