"""What a machine may reach: a list of allowed hosts, and the proxy outside the machine that keeps to it.

Knows no machine: a provider gives it a listening socket that its machine can connect to and nobody else.
"""
