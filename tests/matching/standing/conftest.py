from tests.matching.conftest import registry, rules, store  # noqa: F401 - the pool that matches see
