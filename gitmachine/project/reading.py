"""The repository's file, as the vault has it: at the commit that a session's changes are counted from.

Not in the session's own commits: what a command wrote there cannot ask for more.
"""

from __future__ import annotations

from gitmachine.errors import ConfigurationError
from gitmachine.git.vault import Vault
from gitmachine.project import devcontainer, file
from gitmachine.project.file import ProjectFile


async def read(vault: Vault, commit: str) -> tuple[str, ProjectFile] | None:
    """The file's name and what it asks for; None when the commit has none.

    Where there are both, a devcontainer.json fills in what gitmachine.toml leaves out. Raises ConfigurationError.
    """
    names = [file.NAME, *devcontainer.NAMES]
    found = await _present(vault, commit, names)
    if not found:
        return None
    asked = ProjectFile()
    sources = []
    if file.NAME in found:
        asked = file.parse(await _content(vault, found[file.NAME], file.NAME, file.MAX_BYTES))
        sources.append(file.NAME)
    other = next((name for name in devcontainer.NAMES if name in found), None)
    if other is not None and (asked.image is None or not asked.setup):
        container = devcontainer.parse(await _content(vault, found[other], other, devcontainer.MAX_BYTES), other)
        changes = {"image": asked.image or container.image, "setup": asked.setup or container.setup}
        if changes != {"image": asked.image, "setup": asked.setup}:
            asked = asked.model_copy(update=changes)
            sources.append(other)
    return " and ".join(sources) or file.NAME, asked


async def _present(vault: Vault, commit: str, names: list[str]) -> dict[str, tuple[str, int]]:
    """Object and size by name."""
    asked = "".join(f"{commit}:{name}\n" for name in names)
    answer = await vault.git.run("cat-file", "--batch-check", git_dir=vault.store, stdin=asked.encode())
    found = {}
    for name, line in zip(names, answer.lines(), strict=True):
        parts = line.split(" ")
        if len(parts) == 3 and parts[1] == "blob":
            found[name] = (parts[0], int(parts[2]))
    return found


async def _content(vault: Vault, blob: tuple[str, int], name: str, limit: int) -> bytes:
    sha, size = blob
    if size > limit:
        raise ConfigurationError(f"{name} has {size} bytes, more than the {limit} that are read")
    return (await vault.git.run("cat-file", "blob", sha, git_dir=vault.store)).stdout
