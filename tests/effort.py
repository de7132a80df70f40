"""How hard the property tests try: HYPOTHESIS_PROFILE is quick (the default), ci (5 times that) or thorough (50 times)."""

import os

from hypothesis import HealthCheck, settings

TIMES = {"quick": 1, "ci": 5, "thorough": 50}
PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "quick")


def effort(examples: int, steps: int = 50) -> settings:
    """Settings for a test that tries so many examples (of so many steps) in the quick profile."""
    return settings(
        max_examples=examples * TIMES[PROFILE],
        stateful_step_count=steps,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        print_blob=True,
    )
