"""`python -m tests.e2b_endpoint`: an endpoint in a process of its own, until its standard input ends.

It prints one line of JSON, the environment that leads the SDK here; `separate.py` is the other side.
"""

from __future__ import annotations

import json
import sys

from tests.e2b_endpoint.server import E2BEndpoint


def main() -> None:
    with E2BEndpoint() as endpoint:
        print(json.dumps(endpoint.environment), flush=True)
        for line in sys.stdin:
            request = json.loads(line)
            match request["ask"]:
                case "requests":
                    answer: object = [[recorded.name, recorded.status] for recorded in endpoint.requests]
                case "sandboxes":
                    answer = endpoint.sandboxes
                case "most_connections":
                    answer = endpoint.most_connections
                case "forget":
                    endpoint.forget()
                    answer = None
                case "delay":
                    endpoint.delay(request["seconds"])
                    answer = None
                case other:
                    raise ValueError(f"unknown question {other!r}")
            print(json.dumps(answer), flush=True)


main()
