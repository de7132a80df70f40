"""Path parameters of the matching routes, for the OpenAPI document."""

from drf_spectacular.utils import OpenApiParameter

RESERVATION_ID_PATTERN = "[A-Za-z0-9._:-]{1,64}"

RESERVATION_ID = OpenApiParameter(
    "reservation_id", {"type": "string", "pattern": f"^{RESERVATION_ID_PATTERN}$"}, OpenApiParameter.PATH
)
