"""E2B's API and sandboxes on 127.0.0.1, for the unmodified SDK: a test double of a protocol.

The control plane's REST, the edge in front of the sandboxes, envd's Connect services and its HTTP for files; every
sandbox a bubblewrap with real processes, real files and a real pause. Behaviours follow the SDK's generated types
(2.63) and the source of E2B's server; each module names what it follows.
"""

from tests.e2b_endpoint.faults import (
    Answer,
    Delay,
    Drop,
    Expire,
    Fault,
    Reset,
    Script,
    Stall,
    Truncate,
    at,
    nothing,
    on,
)
from tests.e2b_endpoint.recording import Recorded, holding
from tests.e2b_endpoint.separate import SeparateEndpoint
from tests.e2b_endpoint.server import E2BEndpoint

__all__ = [
    "Answer",
    "Delay",
    "Drop",
    "E2BEndpoint",
    "Expire",
    "Fault",
    "Recorded",
    "Reset",
    "Script",
    "SeparateEndpoint",
    "Stall",
    "Truncate",
    "at",
    "holding",
    "nothing",
    "on",
]
