# Django looks here for what is registered
from miners.admin import (  # noqa: F401
    attestation,
    commands,
    issuers,
    manifests,
    miners,
    overrides,
    regions,
    state_panels,
    statuses,
)
