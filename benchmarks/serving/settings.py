"""The hub's own settings, and one more set of routes."""

from poolhub.settings import *  # noqa: F403 - this is what such a module is for

ROOT_URLCONF = "benchmarks.serving.urls"
