# Django looks here for what is registered
from matching.admin import records  # noqa: F401
