from tests.poolhub.conftest import registry as registry  # noqa: PLC0414 - a fixture of that folder, for this one too
