"""`python -m picture [DIRECTORY]`: runs sessions in a place of their own and draws what it saw."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from picture.drawing import draw
from picture.recording import record

COMMANDS = (
    'gitmachine run --session greet -m "Say goodbye" -- sed -i s/hello/goodbye/ hello.txt',
    "gitmachine run --session bold --keep -- rm -r src hello.txt",
    "gitmachine run --session bold --keep -- cat ~/.ssh/id_ed25519",
    "gitmachine log bold",
    "gitmachine rewind 0 bold",
    "gitmachine stop bold",
    "git log --oneline --all",
)
TITLE = "A session is run and pushed; another one deletes everything, finds no key, and is put back"
_IDENTITY = ("-c", "user.name=Alice", "-c", "user.email=alice@example.org")


def main() -> None:
    target = Path(sys.argv[1] if len(sys.argv) > 1 else __file__).resolve()
    target = target if target.is_dir() else target.parent
    with tempfile.TemporaryDirectory(prefix="gitmachine-picture-", ignore_cleanup_errors=True) as place:
        home = Path(place).resolve()
        home.chmod(0o711)
        project = _project(home)
        os.environ.update(HOME=str(home), GITMACHINE_HOME=str(home / "state"))
        (home / "state").mkdir(mode=0o711)
        lines = record(COMMANDS, project, _environment())
        lines = [replace(line, text=line.text.replace(str(home), "~")) for line in lines]
        (target / "session.svg").write_text(draw(lines, TITLE))
        (target / "watch.svg").write_text(_at_home(asyncio.run(_watched(project)), str(home)))
    print(f"{target / 'session.svg'}\n{target / 'watch.svg'}")


def _at_home(svg: str, home: str) -> str:
    """Without the place where it was made, the width that its name had, and fonts from the network."""
    svg = re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL)
    svg = re.sub(rf'(<text[^>]*?) textLength="[^"]*"([^>]*>[^<]*{re.escape(home)})', r"\1\2", svg)
    return svg.replace(home, "~")


def _project(home: Path) -> Path:
    project = home / "project"
    (project / "src").mkdir(parents=True)
    (project / "hello.txt").write_text("hello\n")
    (project / "src" / "app.py").write_text("print(open('hello.txt').read())\n")
    for words in (("init", "--quiet", "--initial-branch=main"), ("add", "."), (*_IDENTITY, "commit", "-qm", "Begin")):
        subprocess.run(["git", *words], cwd=project, check=True)
    return project


def _environment() -> dict[str, str]:
    """Colours, and no spinner, whose frames would be lines."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {
        "PATH": path, "HOME": os.environ["HOME"], "GITMACHINE_HOME": os.environ["GITMACHINE_HOME"], "LANG": "C.UTF-8",
        "TERM": "xterm-256color", "COLUMNS": "104", "FORCE_COLOR": "1", "TTY_INTERACTIVE": "0", "GIT_PAGER": "cat",
    }  # fmt: skip


async def _watched(project: Path) -> str:
    """The view of live sessions, one of them with a command at work."""
    from gitmachine import GitMachine, LocalMachine
    from gitmachine.watch.app import Watch

    async with (
        GitMachine(LocalMachine(), str(project), session="try-cache") as cache,
        GitMachine(LocalMachine(), str(project), session="fix-greeting") as fix,
    ):
        await cache.run("echo '# a cache' > src/cache.py")
        await cache.pause()
        await fix.run("sed -i s/hello/goodbye/ hello.txt")
        await fix.run("grep -c hello hello.txt")
        await fix.commit("Say goodbye")
        tests = 'for n in $(seq 99); do echo "test_greeting_$n ... ok"; sleep 0.1; done'
        running = asyncio.create_task(fix.run(tests))
        app = Watch(())
        async with app.run_test(size=(128, 34)) as pilot:
            await asyncio.wait([running], timeout=3)
            await pilot.pause()
            picture = app.export_screenshot(title="gitmachine watch")
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await cache.resume()
    return picture


if __name__ == "__main__":
    main()
