"""Query parameters of the settlement routes, for the OpenAPI document."""

from drf_spectacular.utils import OpenApiParameter

from poolhub.common.fields import MINER_ID_PATTERN
from settlement.choices import State
from settlement.selectors import DEFAULT_PAGE, MAX_JOB_ID, MAX_PAGE

EMPTY = {"type": "string", "const": ""}  # an empty parameter is left out
LIMIT = {"type": "integer", "minimum": 1, "maximum": MAX_PAGE, "default": DEFAULT_PAGE}
MINER = {"type": "string", "pattern": MINER_ID_PATTERN.replace(r"\Z", "$")}
JOB = {"type": "string", "maxLength": MAX_JOB_ID, "pattern": r"^[^\x00]*$"}
CURSOR = {"type": "string", "pattern": "^[0-9]{0,18}$"}
PAGE = [
    OpenApiParameter("miner_id", {"anyOf": [MINER, EMPTY]}),
    OpenApiParameter("job_id", JOB),
    OpenApiParameter("state", {"type": "string", "enum": [*State.values, ""]}),
    OpenApiParameter("limit", {"anyOf": [LIMIT, EMPTY]}),
    OpenApiParameter("cursor", CURSOR, description="`next_cursor` of the page before."),
]  # fmt: skip
