from poolhub.common.auth import SharedSecret


class CoordinatorSecret(SharedSecret):
    header = "X-Coordinator-Secret"
    setting_name = "COORDINATOR_SHARED_SECRET"
    allowlist_name = "COORDINATOR_ALLOWLIST"
