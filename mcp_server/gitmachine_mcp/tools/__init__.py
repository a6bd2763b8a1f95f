"""The tools, by subject, and how they are put on a server."""
