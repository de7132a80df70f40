"""The hub's own settings, set for tests. ``TEST_DB_DSN`` and ``TEST_REDIS_URL`` choose the storage (see ``servers``)."""

import os
import tempfile
from pathlib import Path

os.environ.update(
    POOLHUB_ENV_FILE="",
    SECRET_KEY="tests-only-" + "k3" * 25,
    API_KEY_PEPPER="tests-only-" + "p7" * 16,
    COORDINATOR_SHARED_SECRET="coordinator-secret-1,coordinator-secret-2",
    ADMIN_SHARED_SECRET="admin-secret-000001",
    ENROLLMENT="open",
    RATELIMIT_MATCH="",
    RATELIMIT_REGISTER="",
    ALLOWED_HOSTS="localhost,127.0.0.1,testserver",
    DB_DSN=os.environ.get("TEST_DB_DSN") or "sqlite:///test.sqlite3",
    REDIS_URL=os.environ.get("TEST_REDIS_URL") or "",
)

from poolhub.settings import *  # noqa: F403 - the environment first

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # tests make users; a strong hash costs 0.2 s each

if ON_SQLITE:  # noqa: F405
    # A file, not the memory: tests with threads need the locking that the hub meets.
    _folder = tempfile.TemporaryDirectory(prefix="tests-", ignore_cleanup_errors=True)
    DATABASES["default"]["TEST"] = {"NAME": str(Path(_folder.name) / "test.sqlite3")}  # noqa: F405
