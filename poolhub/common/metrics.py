"""The hub's Prometheus metrics (contract, section 10).

They add up over worker processes. The gauges are read off the scraped process, by ``poolhub.gauges``.
"""

from prometheus_client import Counter, Histogram

MATCH_LATENCY = Histogram(
    "poolhub_match_latency_ms",
    "Time to answer one match, in ms",
    buckets=(0.25, 0.5, 1, 2, 3, 5, 7.5, 10, 15, 25, 50, 100, 250, 500, 1000),
)
MATCH_REQUESTS = Counter("poolhub_match_requests_total", "Matches answered", ["outcome"])
MATCH_REJECTIONS = Counter(
    "poolhub_match_rejections_total", "Miners rejected, by first failed constraint", ["constraint"]
)
STREAM_RANKINGS = Counter("poolhub_stream_rankings_total", "Subscriptions that were ranked anew")
STREAM_UPDATES = Counter("poolhub_stream_updates_total", "Answers sent over match streams", ["type"])
MATCH_EMPTY = Counter(
    "poolhub_match_empty_total",
    "Matches without a candidate, by the constraint that rejected most miners",
    ["constraint"],
)
MATCH_RECORDS_DROPPED = Counter("poolhub_match_records_dropped_total", "Match records lost while the database was away")
PEER_REQUESTS = Counter("poolhub_peer_requests_total", "Questions to peer hubs, by how they ended", ["peer", "outcome"])
PEER_LATENCY = Histogram(
    "poolhub_peer_latency_ms",
    "Time until a peer hub had answered, in ms",
    ["peer"],
    buckets=(5, 10, 25, 50, 75, 100, 150, 200, 250, 500, 1000, 2500, 5000, 10_000),
)
HEARTBEATS = Counter("poolhub_heartbeats_total", "Heartbeats applied", ["transport"])
COMMANDS = Counter("poolhub_commands_total", "Commands to miners, by what became of them", ["event"])
MANIFESTS = Counter("poolhub_manifests_total", "Manifests of miners, by what became of them", ["outcome"])
FEEDBACK = Counter("poolhub_feedback_total", "Feedback recorded", ["outcome"])
RATELIMIT_UNCHECKED = Counter(
    "poolhub_ratelimit_unchecked_total", "Requests let through because the cache failed", ["group"]
)
REFUSED = Counter("poolhub_refused_total", "Requests refused since the hub has more to do than it can", ["reason"])
SETTLEMENTS = Counter("poolhub_settlement_attempts_total", "Deliveries of settlement events tried", ["outcome"])
MARKET_FETCHES = Counter("poolhub_market_fetches_total", "Price feeds fetched", ["outcome"])
CHORES = Counter("poolhub_chore_runs_total", "Chores that the worker has run", ["chore", "outcome"])

# from 0 on, else whoever looks for an increase misses the first
for _event in ("created", "sent", "acked", "failed", "expired"):
    COMMANDS.labels(event=_event)
for _reason in ("full", "late"):
    REFUSED.labels(reason=_reason)
for _counter, _outcomes in (
    (MANIFESTS, ("accepted", "repeated")),
    (SETTLEMENTS, ("delivered", "sent", "failed", "dead", "later", "gone")),
    (MARKET_FETCHES, ("changed", "unchanged", "failed")),
):
    for _outcome in _outcomes:
        _counter.labels(outcome=_outcome)
