"""`python -m gitmachine.cli`, for whoever knows the interpreter and not where the command is."""

from gitmachine.cli import main

main()
