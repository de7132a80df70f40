# Django looks here for what is registered
from miners.admin import commands, miners, overrides, regions, state_panels, statuses  # noqa: F401
