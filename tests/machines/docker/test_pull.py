"""An image that the engine does not have is pulled, with word of its progress, from a registry on the loopback."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from gitmachine import DockerMachine
from gitmachine.errors import MachineUnavailable
from gitmachine.machines.docker.images import PullProgress
from tests.support import docker_images
from tests.support.docker_engine import DockerEngine

_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
_CONFIG = "application/vnd.docker.container.image.v1+json"
_LAYER = "application/vnd.docker.image.rootfs.diff.tar"


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _image(layer: bytes) -> tuple[bytes, dict[str, bytes]]:
    """A manifest, and the blobs that it names (distribution-spec; image manifest version 2, schema 2)."""
    config = json.dumps(
        {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]}}
    ).encode()
    named = [{"mediaType": kind, "size": len(data), "digest": _digest(data)} for kind, data in (
        (_CONFIG, config), (_LAYER, layer),
    )]  # fmt: skip
    manifest = {"schemaVersion": 2, "mediaType": _MANIFEST, "config": named[0], "layers": named[1:]}
    return json.dumps(manifest).encode(), {_digest(config): config, _digest(layer): layer}


@pytest.fixture
def registry(docker: DockerEngine) -> Iterator[str]:
    """The name of an image on a registry that has it and nothing else."""
    manifest, blobs = _image(docker_images.without_python(docker_images.base_tarball()))

    class Registry(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            last = self.path.rpartition("/")[2]
            found = b"{}" if self.path == "/v2/" else blobs.get(last)
            if "/manifests/" in self.path and last in ("1", _digest(manifest)):
                found = manifest
            self.send_response(200 if found is not None else 404)
            self.send_header("Content-Type", _MANIFEST if found is manifest else "application/octet-stream")
            self.send_header("Content-Length", str(len(found or b"")))
            if found is manifest:
                self.send_header("Docker-Content-Digest", _digest(manifest))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(found or b"")

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Registry) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        name = f"127.0.0.1:{server.server_port}/shell"
        try:
            yield name
        finally:
            server.shutdown()
            thread.join()


async def test_a_missing_image_is_pulled_and_its_progress_told(registry: str, docker: DockerEngine) -> None:
    told: list[PullProgress] = []
    machine = DockerMachine(f"{registry}:1", on_pull=told.append)
    try:
        await machine.start()
        assert (await machine.execute("echo pulled")).stdout == "pulled\n"
    finally:
        await machine.stop()
        docker.docker("rmi", f"{registry}:1")
    assert any(progress.status == "Pull complete" for progress in told)
    assert any((progress.total_bytes or 0) > 1_000_000 for progress in told)
    with pytest.raises(MachineUnavailable, match="could not be pulled"):
        await DockerMachine(f"{registry}:2").start()
