# Django looks here for what is registered
from matching.admin import miner_panels, price_previews, records  # noqa: F401
