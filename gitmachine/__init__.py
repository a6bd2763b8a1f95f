"""A sandboxed machine with a git repository in it."""
