"""Query and path parameters of the miners' routes, for the OpenAPI document."""

from drf_spectacular.utils import OpenApiParameter

from miners.registry.records import State
from miners.selectors import DEFAULT_PAGE, MAX_PAGE, MAX_TEXT
from poolhub.common.fields import MAX_COUNT, MINER_ID_PATTERN, SAFE_PATTERN

TEXT = {"type": "string", "maxLength": MAX_TEXT, "pattern": SAFE_PATTERN}

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
    "miner_id", {"type": "string"}, description="With an api key: which of the miners that share it."
)
EMPTY = {"type": "string", "const": ""}  # an empty parameter is left out
LIMIT = {"type": "integer", "minimum": 1, "maximum": MAX_PAGE, "default": DEFAULT_PAGE}
VRAM = {"type": "number", "minimum": 0, "maximum": MAX_COUNT}
PAGE = [
    OpenApiParameter("limit", {"anyOf": [LIMIT, EMPTY]}),
    OpenApiParameter("cursor", TEXT, description="`next_cursor` of the page before."),
    OpenApiParameter("state", {"type": "string", "enum": [*State, ""]}),
    OpenApiParameter("region", TEXT, description="Equal, or a prefix up to a `-`."),
    OpenApiParameter("capability", TEXT),
    OpenApiParameter("tag", TEXT),
    OpenApiParameter("min_vram_gb", {"anyOf": [VRAM, EMPTY]}),
    OpenApiParameter("q", TEXT, description="A part of the id, the address or the GPU's name."),
]
