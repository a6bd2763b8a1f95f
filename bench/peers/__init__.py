"""Drivers of other people's packages, each run by a Python of its own in which only that package is installed."""
