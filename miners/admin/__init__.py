# Django looks here for what is registered
from miners.admin import commands, miners, overrides, regions, statuses  # noqa: F401
