"""E2BMachine: a sandbox of E2B's cloud, or of one's own, by the `e2b` SDK."""

from gitmachine.machines.e2b.machine import E2BMachine

__all__ = ["E2BMachine"]
