"""Query and path parameters of the miners' routes, for the OpenAPI document."""

from drf_spectacular.utils import OpenApiParameter

from miners import limits
from miners.registry.records import State
from miners.selectors import DEFAULT_PAGE, MAX_PAGE, MAX_TEXT
from poolhub.common.fields import MAX_COUNT, MINER_ID_PATTERN

TEXT = {"type": "string", "maxLength": MAX_TEXT}

MINER_ID = OpenApiParameter(
    "miner_id",
    # OpenAPI's regular expressions know no \Z
    {"type": "string", "pattern": MINER_ID_PATTERN.replace(r"\Z", "$")},
    OpenApiParameter.PATH,
)
SESSION_TOKEN = OpenApiParameter(
    "session_token", {"type": "string"}, description="Older clients: instead of `Authorization: Bearer …`."
)
NAMED_MINER = OpenApiParameter(
    "miner_id",
    {"type": "string", "maxLength": limits.MAX_MINER_ID},
    description="Which of the miners that share a key.",
)
PAGE = [
    OpenApiParameter("limit", {"type": "integer", "minimum": 1, "maximum": MAX_PAGE, "default": DEFAULT_PAGE}),
    OpenApiParameter("cursor", TEXT, description="`next_cursor` of the page before."),
    OpenApiParameter("state", {"type": "string", "enum": list(State)}),
    OpenApiParameter("region", TEXT, description="Equal, or a prefix up to a `-`."),
    OpenApiParameter("capability", TEXT),
    OpenApiParameter("tag", TEXT),
    OpenApiParameter("min_vram_gb", {"type": "number", "minimum": 0, "maximum": MAX_COUNT}),
    OpenApiParameter("q", TEXT, description="A part of the id, the address or the GPU's name."),
]
