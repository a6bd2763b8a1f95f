"""One sandbox as the control plane knows it, and as the SDK's generated models tell of it."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass, field
from typing import Any

from e2b.api.client import models
from e2b.api.client.types import UNSET, Unset
from e2b.envd.filesystem.filesystem_connect import FilesystemASGIApplication
from e2b.envd.process.process_connect import ProcessASGIApplication

from tests.e2b_endpoint.box import Box
from tests.e2b_endpoint.clock import as_datetime
from tests.e2b_endpoint.envd import Guest
from tests.e2b_endpoint.filesystem_api import FilesystemService
from tests.e2b_endpoint.process_api import ProcessService

ENVD_VERSION = "0.6.13"
CLIENT_ID = "6532622b"


@dataclass(slots=True, eq=False)
class Sandbox:
    """One sandbox. `box` lives as long as the sandbox does, frozen while it is paused."""

    id: str
    request: models.NewSandboxV2
    box: Box
    guest: Guest
    started_at: float
    end_at: float
    token: str = field(default_factory=lambda: f"ea_{secrets.token_hex(16)}")
    paused: bool = False
    pause_mode: models.SandboxPauseMode = models.SandboxPauseMode.FULL
    busy: asyncio.Lock = field(default_factory=asyncio.Lock)
    gone: bool = False
    process_app: ProcessASGIApplication = field(init=False)
    filesystem_app: FilesystemASGIApplication = field(init=False)

    def __post_init__(self) -> None:
        self.process_app = ProcessASGIApplication(ProcessService(self.guest), read_max_bytes=None)
        self.filesystem_app = FilesystemASGIApplication(FilesystemService(self.guest), read_max_bytes=None)

    @property
    def metadata(self) -> dict[str, str]:
        return dict(self.request.metadata) if self.request.metadata else {}

    def as_created(self) -> models.Sandbox:
        return models.Sandbox(
            template_id=self.request.template_id,
            sandbox_id=self.id,
            client_id=CLIENT_ID,
            envd_version=ENVD_VERSION,
            envd_access_token=self.token,
            domain=None,
        )

    def _shared(self) -> dict[str, Any]:
        state = models.SandboxState.PAUSED if self.paused else models.SandboxState.RUNNING
        return {
            "template_id": self.request.template_id,
            "alias": self.request.template_id,
            "sandbox_id": self.id,
            "client_id": CLIENT_ID,
            "started_at": as_datetime(self.started_at),
            "end_at": as_datetime(self.end_at),
            "envd_version": ENVD_VERSION,
            "cpu_count": 2,
            "memory_mb": 512,
            "disk_size_mb": 10240,
            "state": state,
            "metadata": self.request.metadata,
        }

    def as_listed(self) -> models.ListedSandbox:
        return models.ListedSandbox(**self._shared())

    def as_detail(self) -> models.SandboxDetail:
        resume = self.request.auto_resume
        on_timeout = models.SandboxOnTimeout.PAUSE if self.request.auto_pause is True else models.SandboxOnTimeout.KILL
        return models.SandboxDetail(
            **self._shared(),
            envd_access_token=self.token,
            allow_internet_access=self.request.allow_internet_access,
            network=self.request.network,
            lifecycle=models.SandboxLifecycle(
                auto_resume=not isinstance(resume, Unset) and resume.enabled, on_timeout=on_timeout
            ),
            pause_mode=self.pause_mode if self.paused else UNSET,
        )
