"""GitMachine sessions as an MCP server."""
