"""How a serving process begins."""

import gc

import pytest

from miners.registry import runtime
from poolhub import process


@pytest.mark.django_db
def test_what_a_process_has_loaded_is_no_longer_looked_through_for_garbage() -> None:
    runtime.set_registry(runtime.new_registry())
    try:
        process.begin()
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()
        runtime.reset()
