"""What an operator can allow a repository, for a door's help to say without loading what it means."""

WORDS = ("setup", "image", "image=PATTERN", "network", "network=HOST", "env=NAME", "limits", "all", "ignore")
