"""The preview of a price on the page that asks before it is set."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from matching.admin.shown import job_url
from matching.price_preview import price_preview
from miners.admin.previews import PricePreview, price_preview_add
from miners.models import Miner
from poolhub.common.text import visible


def _show(miners: Sequence[Miner], price: Decimal) -> dict[str, Any]:
    preview = price_preview(miner_ids=[each.miner_id for each in miners], price=price)
    examples = [(visible(each.job_id), job_url(each.job_id), each) for each in preview.examples]
    return {"preview": preview, "examples": examples}


price_preview_add(PricePreview("matching/admin/price_preview.html", "matching.view_matchrecord", _show))
