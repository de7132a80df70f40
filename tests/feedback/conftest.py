from tests.matching.conftest import registry, rules  # noqa: F401 - feedback acts on the pool that matches see
