from tests.matching.conftest import registry, rules, store  # noqa: F401 - feedback acts on the pool that matches see
