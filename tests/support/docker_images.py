"""Images for the tests' engine, made of Debian's packages: nothing is pulled from a registry.

`debootstrap` says which packages a minimal system with git and python3 needs and brings them; they are unpacked, and
configured as far as a machine needs it. That is a file below ~/.cache, made once on a computer.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

SUITE = "bookworm"
PACKAGES = ("git", "python3", "ca-certificates", "busybox-static", "curl")
_RECIPE = "2"
_DOWNLOAD_LIMIT_S = 600
_CONFIGURE = """
set -e
cp /usr/share/base-passwd/passwd.master /etc/passwd
cp /usr/share/base-passwd/group.master /etc/group
ln -sf mawk /usr/bin/awk
ldconfig
python3 -m compileall -q -l /usr/lib/python3.11 \
  /usr/lib/python3.11/encodings /usr/lib/python3.11/collections /usr/lib/python3.11/importlib /usr/lib/python3.11/re \
  /usr/lib/python3.11/json /usr/lib/python3.11/urllib /usr/lib/python3.11/email /usr/lib/python3.11/http
rm -rf /usr/share/doc /usr/share/man /usr/share/locale /var/cache/apt /var/lib/apt/lists
mkdir -p /tmp /proc /sys
"""


def base_tarball() -> Path:
    """A root file system with git and python3, as an archive to be imported."""
    key = hashlib.sha256(repr((SUITE, PACKAGES, _RECIPE, _CONFIGURE)).encode()).hexdigest()[:12]
    cache = Path.home() / ".cache" / "gitmachine-tests"
    cache.mkdir(parents=True, exist_ok=True)
    target = cache / f"{SUITE}-{key}.tar"
    with _locked(cache / "lock"):
        if not target.exists():
            work = cache / f"{key}.work"
            shutil.rmtree(work, ignore_errors=True)
            work.mkdir()
            try:
                _build(work, target)
            finally:
                shutil.rmtree(work)
    return target


def without_python(base: Path) -> bytes:
    """An archive with busybox and nothing else: a shell, but neither python3 nor git."""
    with tarfile.open(base) as archive:
        member = next(one for one in archive if one.name in ("./usr/bin/busybox", "./bin/busybox"))
        file = archive.extractfile(member)
        assert file is not None
        return _archive([("bin/busybox", file.read()), ("bin/sh", None)])


def empty() -> bytes:
    """An archive in which there is nothing that could be run."""
    return _archive([("etc/motd", b"nothing\n")])


def _archive(entries: Sequence[tuple[str, bytes | None]]) -> bytes:
    with io.BytesIO() as buffer:
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            for name, content in entries:
                entry = tarfile.TarInfo(name)
                entry.mode = 0o755
                if content is None:
                    entry.type, entry.linkname = tarfile.SYMTYPE, "busybox"
                    archive.addfile(entry)
                else:
                    entry.size = len(content)
                    archive.addfile(entry, io.BytesIO(content))
        return buffer.getvalue()


def _build(work: Path, target: Path) -> None:
    brought, root = work / "brought", work / "root"
    _do(
        "debootstrap", "--download-only", "--variant=minbase", f"--include={','.join(PACKAGES)}", SUITE, str(brought),
        timeout=_DOWNLOAD_LIMIT_S,
    )  # fmt: skip
    for name in ("bin", "sbin", "lib", "lib64"):
        (root / "usr" / name).mkdir(parents=True)
        (root / name).symlink_to(f"usr/{name}")
    for package in sorted((brought / "var/cache/apt/archives").glob("*.deb")):
        with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(package)], stdout=subprocess.PIPE) as contents:
            _do("tar", "-x", "--keep-directory-symlink", "-C", str(root), stdin=contents.stdout)
    _do("chroot", str(root), "/bin/sh", "-c", _CONFIGURE)
    made = target.with_suffix(".new")
    _do("tar", "-c", "-f", str(made), "-C", str(root), ".")
    made.rename(target)


def _do(*argv: str, timeout: int = 120, stdin: IO[bytes] | None = None) -> None:
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "HOME": "/root"}
    environment |= {name: value for name, value in os.environ.items() if name.lower().endswith("_proxy")}
    done = subprocess.run(
        argv, stdin=stdin or subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout, env=environment
    )
    assert done.returncode == 0, f"{argv[0]}: {done.stdout[-2000:]} {done.stderr[-2000:]}"


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    base_tarball()
