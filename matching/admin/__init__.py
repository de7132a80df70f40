# Django looks here for what is registered
from matching.admin import miner_panels, records  # noqa: F401
