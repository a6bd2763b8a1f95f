"""The scripted session: thirty commands, and what the working tree holds after each of them."""

from __future__ import annotations

from hashlib import sha1

COMMANDS = 30
_BIG_EVERY = 10
_BIG_LINES = 20_000
_AGENT_COMMITS_EVERY = 7
_REMOVES_EVERY = 3

FIRST = {"README.md": b"# Project\n", "src/app.py": b"print('hello')\n"}
"""What the remote's default branch has (see tests/support/git_server.py)."""


def command(number: int) -> str:
    """Command `number`, from 1. It is the same whenever it is run, but for `log.txt`, to which it adds a line."""
    lines = [
        f"mkdir -p d{number % 5}",
        f"printf 'file {number}\\n' > d{number % 5}/f{number}.txt",
        f"printf '{number}\\n' >> log.txt",
    ]
    if number % _REMOVES_EVERY == 0:
        lines.append(f"rm -f {_plain(number - 2)}")
    if number % _BIG_EVERY == 0:
        lines.append(f"yes {number} | head -n {_BIG_LINES} > big.txt")
    if number % _AGENT_COMMITS_EVERY == 0:
        lines.append(f"git add -A && git commit -qm 'The agent, after {number}'")
    return " && ".join(lines)


def touched(number: int) -> frozenset[str]:
    """The paths that command `number` writes or removes."""
    paths = {_plain(number), "log.txt"}
    if number % _REMOVES_EVERY == 0:
        paths.add(_plain(number - 2))
    if number % _BIG_EVERY == 0:
        paths.add("big.txt")
    return frozenset(paths)


def tree_after(number: int) -> dict[str, str]:
    """Blob by path once the first `number` commands have run."""
    files = dict(FIRST)
    for n in range(1, number + 1):
        files[_plain(n)] = f"file {n}\n".encode()
        files["log.txt"] = files.get("log.txt", b"") + f"{n}\n".encode()
        if n % _REMOVES_EVERY == 0:
            files.pop(_plain(n - 2), None)
        if n % _BIG_EVERY == 0:
            files["big.txt"] = f"{n}\n".encode() * _BIG_LINES
    return {path: _blob(content) for path, content in files.items()}


def differences(tree: dict[str, str], finished: int, begun: int) -> list[str]:
    """The paths where `tree` is not as after the last finished command; those of one in flight are not asked."""
    wanted = tree_after(finished)
    free = touched(begun) if begun > finished else frozenset()
    paths = (tree.keys() | wanted.keys()) - free
    return sorted(path for path in paths if tree.get(path) != wanted.get(path))


def _plain(number: int) -> str:
    return f"d{number % 5}/f{number}.txt"


def _blob(content: bytes) -> str:
    return sha1(f"blob {len(content)}\0".encode() + content, usedforsecurity=False).hexdigest()
