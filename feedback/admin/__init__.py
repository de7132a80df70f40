# Django looks here for what is registered
from feedback.admin import miner_panel, outcomes  # noqa: F401
