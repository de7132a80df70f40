"""The routes of the contract and what each may be asked with."""

ROUTES = {
    "/v1/miners/register": ("POST",),
    "/v1/miners/update": ("POST",),
    "/v1/miners/heartbeat": ("POST",),
    "/v1/miners/lease/renew": ("GET", "HEAD", "POST"),
    "/v1/miners/logout": ("POST",),
    "/v1/miners/manifest": ("POST",),
    "/v1/miners": ("GET", "HEAD"),
    "/v1/miners/{miner_id}": ("GET", "HEAD"),
    "/v1/miners/{miner_id}/commands": ("POST",),
    "/v1/match": ("POST",),
    "/v1/match/batch": ("POST",),
    "/v1/match/why-not": ("POST",),
    "/v1/feedback": ("POST",),
    "/v1/settlements": ("GET", "HEAD"),
    "/v1/market/prices": ("GET", "HEAD"),
    "/v1/miners/standing": ("GET", "HEAD"),
    "/v1/reservations": ("GET", "HEAD"),
    "/v1/reservations/{reservation_id}": ("DELETE",),
    "/v1/reservations/{reservation_id}/renew": ("POST",),
    "/v1/health": ("GET", "HEAD"),
    "/v1/metrics": ("GET", "HEAD"),
    "/v1/schema": ("GET", "HEAD"),
    "/v1/docs": ("GET", "HEAD"),
    "/health": ("GET", "HEAD"),
}
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")


def path_of(route: str) -> str:
    return route.replace("{miner_id}", "m1").replace("{reservation_id}", "r1")
