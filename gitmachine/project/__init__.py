"""What a repository asks of its machine (`gitmachine.toml`, `devcontainer.json`), and what the operator grants of it.

The file comes from the repository, so it decides nothing: it narrows limits, and asks for everything else.
"""
