"""The control plane's REST, in terms of the SDK's generated models."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar
from urllib.parse import parse_qsl, unquote

from e2b.api.client import models
from e2b.api.client.types import Unset
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.e2b_endpoint.box import GuestGone
from tests.e2b_endpoint.fleet import Fleet, Refused
from tests.e2b_endpoint.sandbox import Sandbox

MAX_PAGE = 100
_NO_CONTENT = 204
_T = TypeVar("_T")
Handler = Callable[[Request], Awaitable[Response]]


def refusal(error: Refused) -> JSONResponse:
    return JSONResponse(models.Error(code=error.code, message=str(error)).to_dict(), error.code)


class Control:
    """One handler a call; `app` routes to them."""

    def __init__(self, fleet: Fleet, api_key: str) -> None:
        self._fleet = fleet
        self._api_key = api_key
        self.app = Starlette(
            routes=[
                self._route("/v2/sandboxes", "POST", self._create),
                self._route("/v2/sandboxes", "GET", self._list),
                self._route("/v2/sandboxes/{id}/connect", "POST", self._connect),
                self._route("/sandboxes/{id}/pause", "POST", self._pause),
                self._route("/sandboxes/{id}/timeout", "POST", self._timeout),
                self._route("/sandboxes/{id}/network", "PUT", self._network),
                self._route("/sandboxes/{id}", "GET", self._info),
                self._route("/sandboxes/{id}", "DELETE", self._kill),
            ]
        )

    def _route(self, path: str, method: str, handler: Handler) -> Route:
        async def checked(request: Request) -> Response:
            try:
                if request.headers.get("x-api-key") != self._api_key:
                    raise Refused(
                        401, "Invalid API key, please visit https://e2b.dev/docs/api-key for more information."
                    )
                return await handler(request)
            except Refused as error:
                return refusal(error)
            except GuestGone as error:
                return refusal(Refused(500, f"{error}"))

        return Route(path, checked, methods=[method])

    async def _create(self, request: Request) -> Response:
        body = await _parsed(request, models.NewSandboxV2.from_dict)
        sandbox = await self._fleet.create(body, request.headers.get("idempotency-key"))
        return JSONResponse(sandbox.as_created().to_dict(), 201)

    async def _connect(self, request: Request) -> Response:
        body = await _parsed(request, models.ConnectSandboxV2.from_dict)
        timeout = 300.0 if isinstance(body.timeout, Unset) else float(body.timeout)
        sandbox, resumed = await self._fleet.connect(_id(request), timeout, reboot=body.memory is False)
        return JSONResponse(sandbox.as_created().to_dict(), 201 if resumed else 200)

    async def _pause(self, request: Request) -> Response:
        body = await _parsed(request, models.SandboxPauseRequest.from_dict)
        await self._fleet.pause(_id(request), memory=body.memory is not False)
        return Response(status_code=_NO_CONTENT)

    async def _timeout(self, request: Request) -> Response:
        body = await _parsed(request, models.SandboxTimeoutRequest.from_dict)
        self._fleet.set_timeout(_id(request), float(body.timeout))
        return Response(status_code=_NO_CONTENT)

    async def _network(self, request: Request) -> Response:
        body = await _parsed(request, models.SandboxNetworkConfig.from_dict)
        self._fleet.find(_id(request)).request.network = body
        return Response(status_code=_NO_CONTENT)

    async def _info(self, request: Request) -> Response:
        return JSONResponse(self._fleet.find(_id(request)).as_detail().to_dict())

    async def _kill(self, request: Request) -> Response:
        await self._fleet.kill(_id(request))
        return Response(status_code=_NO_CONTENT)

    async def _list(self, request: Request) -> Response:
        query = request.query_params
        found = sorted(
            (sandbox for sandbox in self._fleet.sandboxes.values() if _matches(sandbox, request)),
            key=lambda sandbox: (sandbox.started_at, sandbox.id),
            reverse=query.get("order", "desc") == "desc",
        )
        begin = int(query.get("nextToken", "0"))
        end = begin + min(int(query.get("limit", MAX_PAGE)), MAX_PAGE)
        headers = {"X-Next-Token": str(end)} if end < len(found) else {}
        return JSONResponse([sandbox.as_listed().to_dict() for sandbox in found[begin:end]], headers=headers)


def _id(request: Request) -> str:
    return str(request.path_params["id"])


async def _parsed(request: Request, parse: Callable[[dict[str, Any]], _T]) -> _T:
    try:
        return parse(json.loads(await request.body() or b"{}"))
    except (ValueError, KeyError, TypeError) as error:
        raise Refused(400, f"Error when parsing request: {error}") from error


def _matches(sandbox: Sandbox, request: Request) -> bool:
    query = request.query_params
    states = ",".join(query.getlist("state"))
    # The SDK quotes each key and value, and then the whole (sandbox_async/paginator.py).
    wanted = {unquote(key): unquote(value) for key, value in parse_qsl(query.get("metadata", ""))}
    return (
        (not states or ("paused" if sandbox.paused else "running") in states.split(","))
        and query.get("template", sandbox.request.template_id) == sandbox.request.template_id
        and wanted.items() <= sandbox.metadata.items()
    )
