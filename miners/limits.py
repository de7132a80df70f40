"""The contract's bounds on what is said about a miner, beside the general ones of poolhub.common.fields."""

MAX_MINER_ID = 64
MAX_ADDR = 256
MAX_GPU_NAME = 256
MAX_WALLET = 256
MAX_REGION = 64
MAX_TAG = 64
MAX_DETAIL = 500
MAX_TAGS = 64
MIN_KEY, MAX_KEY = 16, 1024
MAX_PARALLEL = 10_000
MAX_OPEN_COMMANDS = 1000
MAX_RTT_MS = 10_000
MAX_PROBES = 32  # regions in one heartbeat
MIN_REFRESH_S, MAX_REFRESH_S = 60, 7 * 86_400  # of issuers' keys
MAX_LEEWAY_S = 3600
MAX_LIFETIME_S = 366 * 86_400  # of a manifest
MIN_CELSIUS, MAX_CELSIUS = -100, 1000

ACCELERATORS = ("cuda", "rocm", "metal", "vulkan", "oneapi", "tpu", "cpu")

CLOCK_SKEW_S = 60.0  # a miner's ts further off the hub's clock than this orders nothing
