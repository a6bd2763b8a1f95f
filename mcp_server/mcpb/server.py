"""What the bundle starts: the command, from the distribution that `pyproject.toml` beside it names."""

from gitmachine_mcp.cli import main

main()
