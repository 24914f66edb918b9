"""``/healthz`` and ``/readyz``, for a listener of operators (docs/health.md)."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from registrar_plugin.health.readiness import Finding, Readiness

READINESS: Final = web.AppKey("READINESS", Readiness)
_FRESH: Final = {"Cache-Control": "no-store"}

routes = web.RouteTableDef()


@routes.get("/healthz")
async def healthy(_: web.Request) -> web.Response:
    """The process serves."""
    return web.Response(text="ok\n", headers=_FRESH)


@routes.get("/readyz")
async def ready(request: web.Request) -> web.Response:
    """Whether an onboarding could be carried to its end; ``exclude=NAME`` leaves a check out."""
    exclude = request.query.getall("exclude", [])
    found = await request.app[READINESS].findings(exclude=exclude)
    is_ready = all(finding.is_ready for finding in found)
    document = {"ready": is_ready, "checks": {each.name: _as_json(each) for each in found}}
    return web.json_response(document, status=200 if is_ready else 503, headers=_FRESH)


def _as_json(finding: Finding) -> dict[str, object]:
    if finding.is_ready:
        return {"ready": True} | ({"warning": finding.warning} if finding.warning else {})
    return {"ready": False, "code": finding.code, "reason": finding.reason}


def add_health(app: web.Application, readiness: Readiness) -> None:
    """Put both paths on *app*, which is the host's, and which pledges should not reach.

    Args:
        readiness: of the registrar, ``registrar.readiness``.
    """
    app[READINESS] = readiness
    app.add_routes(routes)
