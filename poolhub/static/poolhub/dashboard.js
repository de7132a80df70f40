// The dashboard asks for a snapshot every two seconds. Counters only ever grow: rates are differences of two snapshots,
// and what was seen since the page was opened is kept in the tab, so that a reload loses nothing.
"use strict";

(() => {
  const PERIOD_MS = 2000, KEPT_S = 600, WINDOW_S = 60, STORE = "poolhub-dashboard";
  const root = document.getElementById("hub-dashboard");
  const STATES = ["online", "degraded", "draining", "offline", "disabled"];
  const COLOURS = ["--hub-c1", "--hub-c2", "--hub-c4", "--hub-c3", "--hub-c5"];
  const whole = new Intl.NumberFormat("en-GB", { maximumFractionDigits: 0 });
  const fine = new Intl.NumberFormat("en-GB", { maximumFractionDigits: 2 });

  // ---- arithmetic

  const sum = (values) => Object.values(values).reduce((total, each) => total + each, 0);

  /** The snapshot to measure from: the oldest one within the window before `last`. */
  const before = (kept, last, seconds) => kept.find((each) => each.at >= last.at - seconds && each.at < last.at);

  const grown = (from, to) => Object.fromEntries(
    Object.entries(to).map(([name, value]) => [name, value - (from[name] || 0)]));

  /** The value below which this share of the matches was, by linear interpolation within its bucket. */
  function quantile(buckets, share) {
    const bounds = Object.keys(buckets).map((name) => [name === "+Inf" ? Infinity : Number(name), buckets[name]])
      .sort((a, b) => a[0] - b[0]);
    const all = bounds.length ? bounds[bounds.length - 1][1] : 0;
    if (!all) return null;
    let low = 0, under = 0;
    for (const [bound, count] of bounds) {
      if (count >= share * all) {
        return bound === Infinity ? low : low + (bound - low) * (share * all - under) / (count - under);
      }
      [low, under] = [bound, count];
    }
    return low;
  }

  /** What happened between two snapshots. */
  function between(from, to) {
    const seconds = to.at - from.at, of = (name) => grown(from.counters[name] || {}, to.counters[name] || {});
    const requests = of("match_requests"), latency = grown(from.latency, to.latency);
    const matches = sum(requests);
    return {
      seconds,
      matches: matches / seconds * 60,
      empty: (requests.empty || 0) / seconds * 60,
      emptyShare: matches ? (requests.empty || 0) / matches : null,
      heartbeats: grown(from.counters.heartbeats || {}, to.counters.heartbeats || {}),
      heartbeatRate: sum(of("heartbeats")) / seconds,
      feedback: of("feedback"),
      feedbackRate: sum(of("feedback")) / seconds * 60,
      p50: quantile(latency, 0.5),
      p99: quantile(latency, 0.99),
    };
  }

  // ---- what was seen so far

  let kept = [];
  try { kept = JSON.parse(sessionStorage.getItem(STORE)) || []; } catch { kept = []; }

  function keep(snapshot) {
    const slim = {
      at: snapshot.at, latency: snapshot.latency, of: snapshot.counts_of, reservations: snapshot.reservations,
      counters: {
        match_requests: snapshot.counters.match_requests, heartbeats: snapshot.counters.heartbeats,
        feedback: snapshot.counters.feedback,
      },
    };
    const last = kept[kept.length - 1];
    const restarted = last && (last.of !== slim.of || last.at > slim.at
      || sum(grown(last.counters.heartbeats, slim.counters.heartbeats)) < 0
      || sum(grown(last.counters.match_requests, slim.counters.match_requests)) < 0);
    if (restarted) kept = [];
    if (!last || restarted || slim.at > last.at) kept.push(slim);
    kept = kept.filter((each) => each.at >= slim.at - KEPT_S);
    try { sessionStorage.setItem(STORE, JSON.stringify(kept)); } catch { /* a full store costs the history alone */ }
  }

  // ---- what is shown

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const put = (selector, text) => {
    const found = root.querySelector(selector);
    if (found.textContent !== text) found.textContent = text;
    return found;
  };

  function parts(snapshot) {
    const { parts: of } = snapshot;
    const say = (name, text, is) => { put(`[data-part="${name}"]`, text).dataset.is = is; };
    const standing = { ok: "good", off: "", down: "bad", missing: "bad", degraded: "bad" };
    say("status", of.status, standing[of.status]);
    say("database", of.database, standing[of.database]);
    say("redis", of.redis === "off" ? "not used" : of.redis, standing[of.redis]);
    const worker = of.worker === "ok" ? `seen ${fine.format(of.worker_seen_s)} s ago` : of.worker;
    say("worker", of.worker === "off" ? "not used" : worker, standing[of.worker]);
    say("lag", `${whole.format(of.lag_ms)} ms`, of.lag_ms > 5000 ? "bad" : of.lag_ms > 500 ? "warn" : "good");
    say("at", new Date(snapshot.at * 1000).toISOString().slice(11, 19) + " UTC", "");
  }

  function tiles(snapshot, recent) {
    const total = Object.fromEntries(STATES.map((state) =>
      [state, snapshot.regions.reduce((number, region) => number + region.states[state], 0)]));
    const slots = snapshot.regions.reduce((number, region) => number + region.slots, 0);
    const used = snapshot.regions.reduce((number, region) => number + region.used, 0);
    const tile = (name, text, sub) => { put(`[data-tile="${name}"]`, text); put(`[data-sub="${name}"]`, sub); };
    tile("miners", whole.format(total.online + total.degraded),
      `${whole.format(total.degraded)} degraded, ${whole.format(total.draining)} draining, of ${whole.format(sum(total))}`);
    tile("free", whole.format(slots - used), `${whole.format(used)} of ${whole.format(slots)} taken`);
    const held = snapshot.reservations;
    tile("reservations", held === null ? "?" : whole.format(held), held === null ? "the store is away" : "live now");
    if (!recent) return;
    const over = `over ${whole.format(recent.seconds)} s`, time = (ms) => (ms === null ? "–" : `${fine.format(ms)} ms`);
    tile("heartbeats", fine.format(recent.heartbeatRate), over);
    tile("matches", whole.format(recent.matches), over);
    tile("p50", time(recent.p50), over);
    tile("p99", time(recent.p99), over);
    tile("empty", recent.emptyShare === null ? "–" : `${fine.format(recent.emptyShare * 100)} %`, over);
  }

  const table = (name, heads, rows) => {
    const found = root.querySelector(`[data-table="${name}"]`);
    if (!found.closest("details").open && found.rows.length) return; // nobody looks; the first is there at once
    const cells = (kind, values) => values.map((value, i) => {
      const cell = document.createElement(kind === "th" || i === 0 ? "th" : "td");
      cell.textContent = value;
      if (cell.tagName === "TH") cell.scope = kind === "th" ? "col" : "row";
      return cell;
    });
    const row = (kind, values) => {
      const made = document.createElement("tr");
      made.append(...cells(kind, values));
      return made;
    };
    const head = document.createElement("thead"), body = document.createElement("tbody");
    head.append(row("th", heads));
    body.append(...rows.map((values) => row("td", values)));
    found.replaceChildren(head, body);
  };

  const charts = {};

  function chart(name, type, labels, sets, options = {}) {
    const [text, grid] = [colour("--hub-text"), colour("--hub-grid")];
    const datasets = sets.map((set, i) => {
      const paint = colour(set.colour || COLOURS[i]);
      return { label: set.label, data: set.data, borderColor: paint, backgroundColor: paint,
        borderWidth: type === "line" ? 2 : 0, pointRadius: 0, pointHitRadius: 8, spanGaps: true, maxBarThickness: 22 };
    });
    const axis = { grid: { color: grid }, border: { color: grid }, ticks: { color: text, maxRotation: 0, autoSkipPadding: 12 } };
    const scales = { x: { ...axis, stacked: options.stacked }, y: { ...axis, stacked: options.stacked } };
    scales[options.lying ? "x" : "y"].beginAtZero = true;
    if (options.lying) {
      scales.y.grid = { display: false };
      scales.y.ticks = { ...axis.ticks, autoSkip: false };
    }
    const made = charts[name];
    if (made) {
      made.data.labels = labels;
      datasets.forEach((set, i) => Object.assign(made.data.datasets[i], set));
      made.options.scales = scales;
      made.options.plugins.legend.labels.color = text;
      made.update("none");
      return;
    }
    charts[name] = new Chart(root.querySelector(`[data-chart="${name}"]`), {
      type, data: { labels, datasets },
      options: {
        animation: false, responsive: true, maintainAspectRatio: false, scales,
        indexAxis: options.lying ? "y" : "x", interaction: { mode: "index", intersect: false, axis: options.lying ? "y" : "x" },
        plugins: { legend: { display: sets.length > 1, labels: { color: text, boxWidth: 12, boxHeight: 12 } } },
      },
    });
  }

  function byRegion(snapshot) {
    const names = snapshot.regions.map((region) => region.name);
    chart("regions", "bar", names, STATES.map((state) =>
      ({ label: state, data: snapshot.regions.map((region) => region.states[state]) })), { stacked: true, lying: true });
    table("regions", ["region", ...STATES], snapshot.regions.map((region) =>
      [region.name, ...STATES.map((state) => whole.format(region.states[state]))]));
    chart("slots", "bar", names, [
      { label: "taken", colour: "--hub-c2", data: snapshot.regions.map((region) => region.used) },
      { label: "free", colour: "--hub-c1", data: snapshot.regions.map((region) => region.slots - region.used) },
    ], { stacked: true, lying: true });
    table("slots", ["region", "taken", "free", "all"], snapshot.regions.map((region) =>
      [region.name, region.used, region.slots - region.used, region.slots].map((value) =>
        (typeof value === "number" ? whole.format(value) : value))));
  }

  function overTime() {
    const points = kept.slice(1).map((to, i) => ({ at: to.at, ...between(kept[i], to) }));
    const labels = points.map((each) => new Date(each.at * 1000).toISOString().slice(11, 19));
    const line = (name, sets) => {
      chart(name, "line", labels, sets.map((set) => ({ ...set, data: points.map((point) => point[set.of]) })));
      const rows = points.slice(-20).reverse().map((point, i) => [labels[labels.length - 1 - i],
        ...sets.map((set) => (point[set.of] === null ? "–" : fine.format(point[set.of])))]);
      table(name, ["time, UTC", ...sets.map((set) => set.label)], rows);
    };
    line("matches", [{ label: "all", of: "matches" }, { label: "without a candidate", of: "empty" }]);
    line("latency", [{ label: "p50", of: "p50" }, { label: "p99", of: "p99" }]);
    line("heartbeats", [{ label: "heartbeats a second", of: "heartbeatRate" }]);
  }

  function byName(name, values, head) {
    const most = Object.entries(values).filter(([, value]) => value > 0).sort((a, b) => b[1] - a[1]).slice(0, 10);
    chart(name, "bar", most.map(([label]) => label), [{ label: head, data: most.map(([, value]) => value) }], { lying: true });
    const all = sum(values);
    table(name, [head, "since the start", "share"],
      most.map(([label, value]) => [label, whole.format(value), `${fine.format(value / all * 100)} %`]));
  }

  let newest = null;

  function show() {
    if (!newest) return;
    const last = kept[kept.length - 1], from = last && before(kept, last, WINDOW_S);
    parts(newest);
    tiles(newest, from && last.at > from.at ? between(from, last) : null);
    byRegion(newest);
    overTime();
    byName("empty", newest.counters.match_empty, "constraint");
    byName("rejections", newest.counters.match_rejections, "constraint");
    byName("feedback", newest.counters.feedback, "outcome");
    const of = newest.counts_of === "machine" ? "all processes of this machine" : `this process (${newest.counts_of})`;
    put("#hub-covers", `Matches, heartbeats and feedback are counted by ${of} since its start; rates begin when this page`
      + " is opened. Miners, slots and reservations are those of the whole hub.");
  }

  // ---- the round

  function alarm(text) {
    const found = document.getElementById("hub-alert");
    found.hidden = !text;
    found.textContent = text;
    root.classList.toggle("hub-stale", Boolean(text));
  }

  async function look() {
    try {
      const answer = await fetch(root.dataset.url, { headers: { Accept: "application/json" }, cache: "no-store" });
      if (answer.redirected) {
        alarm("You are no longer logged in: load the page anew. What is shown is old.");
      } else if (!answer.ok) {
        alarm(`The hub answers ${answer.status}${answer.status === 503 ? ": its database may be down" : ""}. What is shown is old.`);
      } else {
        newest = await answer.json();
        alarm("");
        keep(newest);
        show();
      }
    } catch {
      alarm("The hub does not answer. What is shown is old.");
    }
  }

  async function round() {
    if (!document.hidden) await look();
    setTimeout(round, PERIOD_MS);
  }

  function repaint() { // charts keep resolved colours, so they are made anew
    for (const name of Object.keys(charts)) {
      charts[name].destroy();
      delete charts[name];
    }
    show();
  }

  new MutationObserver(repaint).observe(document.documentElement, { attributes: true, attributeFilter: ["class"] });
  root.addEventListener("toggle", show, true);
  round();
})();
