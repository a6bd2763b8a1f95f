"""Makes the pictures of the README, from sessions that it really runs: `python -m picture`."""
