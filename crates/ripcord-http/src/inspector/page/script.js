"use strict";
// The script inserts all data as text, never as markup, so text from users cannot change the page.
{
  const base = location.pathname.replace(/\/$/, "");
  // Removes the token from the URL, because the page now has a cookie.
  if (location.search) history.replaceState(null, "", location.pathname);

  const byId = (id) => document.getElementById(id);
  const el = (tag, props = {}, ...children) => {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(props)) {
      if (value === null || value === undefined) continue;
      if (name === "class") node.className = value;
      else if (name === "on") Object.entries(value).forEach(([event, run]) => node.addEventListener(event, run));
      else node.setAttribute(name, value);
    }
    node.append(...children.filter((child) => child !== null));
    return node;
  };
  const setText = (node, text) => { if (node.textContent !== text) node.textContent = text; };
  const announce = (text) => { byId("announce").textContent = text; };

  const duration = (ms) => {
    if (ms === 0) return "0 s";
    if (ms < 1) return `${Math.round(ms * 1000)} µs`;
    if (ms < 100) return `${ms.toFixed(1)} ms`;
    if (ms < 1000) return `${Math.round(ms)} ms`;
    if (ms < 10_000) return `${(ms / 1000).toFixed(2)} s`;
    if (ms < 60_000) return `${(ms / 1000).toFixed(1)} s`;
    const seconds = Math.floor(ms / 1000);
    const two = (number) => String(number).padStart(2, "0");
    if (seconds < 3600) return `${Math.floor(seconds / 60)} m ${two(seconds % 60)} s`;
    return `${Math.floor(seconds / 3600)} h ${two(Math.floor(seconds / 60) % 60)} m`;
  };
  // Formats a configured duration: whole milliseconds and seconds have no fraction.
  const limit = (ms) => ms >= 1000 && ms < 60_000 ? `${Number((ms / 1000).toFixed(2))} s` : ms < 1000 ? `${Number(ms.toFixed(1))} ms` : duration(ms);
  const number = new Intl.NumberFormat("en").format;
  const words = { running: "running", ended: "answered", canceled: "canceled", deadline_exceeded: "deadline exceeded", panicked: "panicked" };

  // ===== entry =====

  const why = (end) => end.causes.length ? end.causes.join(" ← ") : null;
  const where = (end) => {
    const verb = end.is_idle_timeout ? `idle for ${limit(end.timeout_ms)}, timeout set at`
      : end.kind === "deadline exceeded" ? `timeout of ${limit(end.timeout_ms)} set at`
      : end.canceler_dropped ? "canceler dropped, made at" : "canceled at";
    return [`${verb} `, el("code", {}, end.location), end.origin ? ` in ${end.origin}` : ""];
  };
  const facts = (entry) => {
    const list = el("dl", { class: "facts" });
    const fact = (name, value) => { if (value) list.append(el("dt", {}, name), el("dd", {}, value)); };
    fact("Request ID", entry.request_id);
    fact("Trace id", entry.trace_id);
    fact("Status", entry.status && String(entry.status));
    if (entry.deadline) fact("Deadline", `${limit(entry.deadline.of_ms)}, ${sourceTitle(entry.deadline)}`);
    entry.end?.causes.forEach((cause, at) => fact(at ? "caused by" : "Cause", cause));
    fact("Context", entry.chain);
    return list;
  };
  const sourceTitle = (deadline) => ({
    local: "set by this program",
    header: `asked for by the client in ${deadline.header}`,
    clamped: `the client asked for more in ${deadline.header}; clamped to this server's maximum`,
  })[deadline.source];
  const sourceWord = (deadline) => ({ local: "local", header: deadline.header, clamped: `clamped ${deadline.header}` })[deadline.source];

  // Draws one lane per call, all on the same scale.
  const calls = (entry, withRoot) => {
    const { spans, spans_not_shown: more } = entry;
    const shown = withRoot ? spans : spans.slice(1);
    const total = Math.max(...spans.map((span) => span.start_ms + span.took_ms), 0.001);
    const list = el("ol", { class: "calls" });
    for (const span of shown) {
      const bar = el("i");
      bar.style.left = `${Math.min(100 * span.start_ms / total, 99.5)}%`;
      bar.style.width = `${100 * span.took_ms / total}%`;
      const line = el("li", { class: span.state },
        el("span", { class: "call", title: span.name }, span.name),
        el("span", { class: "lane", "aria-hidden": "true" }, bar),
        el("span", { class: "took" }, duration(span.took_ms)));
      line.style.setProperty("--depth", withRoot ? span.depth : span.depth - 1);
      // The end of the whole entry is already shown above.
      const isSaid = span.end && entry.end && ["kind", "location"].every((part) => span.end[part] === entry.end[part]);
      if (span.end && !isSaid) line.append(el("span", { class: "why" }, ...story(span.end)));
      else if (span.state === "panicked") line.append(el("span", { class: "why" }, "panicked"));
      list.append(line);
    }
    return [...(shown.length ? [list] : []), ...(more ? [el("p", { class: "more" }, `${number(more)} more calls not shown`)] : [])];
  };
  // Lists the unfinished tasks, each with the line of its spawn.
  const tasks = ({ tasks: shown, tasks_not_shown: more }) => {
    const list = el("ol", { class: "calls tasks" });
    for (const task of shown) {
      const name = task.name ?? "unnamed";
      list.append(el("li", { class: task.is_ended ? "late" : "" },
        el("span", { class: "call", title: name }, "task ", el("b", {}, name)),
        el("span", { class: "spawn" }, "spawned at ", el("code", {}, task.location)),
        el("span", { class: "took" }, duration(task.age_ms)),
        ...(task.is_ended ? [el("span", { class: "why" }, "its context has ended, and the task still runs")] : [])));
    }
    return [...(shown.length ? [list] : []), ...(more ? [el("p", { class: "more" }, `${number(more)} more tasks not shown`)] : [])];
  };
  const story = (end) => [end.kind, why(end) ? `: ${why(end)}` : "", " — ", ...where(end)];

  const verdict = (entry, heldMs, isGone) => {
    if (entry.state === "running") return null;
    const then = isGone ? null : entry.state === "ended" ? "its context is still held" : "still running";
    return el("p", { class: `verdict ${entry.state}` },
      el("b", {}, words[entry.state]),
      entry.end ? (why(entry.end) ? `: ${why(entry.end)}` : "") : "",
      entry.end ? " — " : "", ...(entry.end ? where(entry.end) : []),
      el("span", { class: "then" }, then ? ` · ${then} after ${duration(heldMs)}` : ""));
  };

  // ===== live =====

  const rows = new Map();
  const opened = new Set();
  // A failed entry stays for this time, so that a viewer can read the reason.
  const LINGER_MS = 6000;
  // Maximum number of lingering entries, so that they do not hide live entries.
  const MAX_LINGERING = 2;

  class Row {
    constructor(entry) {
      this.id = entry.id;
      this.open = el("button", { type: "button", class: "open", "aria-expanded": "false", on: { click: () => this.toggle() } });
      this.title = el("b");
      this.left = el("b");
      this.source = el("span", { class: "source" });
      this.fill = el("i");
      this.bar = el("div", { class: "bar", role: "progressbar", "aria-label": "Time left", "aria-valuemin": "0", "aria-valuemax": "100" }, this.fill);
      this.time = el("div", { class: "time" }, el("p", {}, el("span", {}, this.left, this.of = el("span")), this.source), this.bar);
      this.age = el("span", { class: "age" });
      this.cancel = el("button", { type: "button", class: "cancel", on: { click: () => this.sendCancel() } }, "Cancel");
      this.verdictAt = el("div");
      this.callsAt = el("div");
      this.factsAt = el("div");
      this.node = el("li", {},
        el("div", { class: "row" }, el("span", { class: "name" }, this.open, this.title), this.time, this.age, this.cancel),
        this.verdictAt, this.callsAt, this.factsAt);
      this.node.dataset.id = entry.id;
    }
    toggle() {
      if (!opened.delete(this.id)) opened.add(this.id);
      this.update(this.entry, this.received, this.indent);
    }
    update(entry, received, indent) {
      Object.assign(this, { entry, received, indent });
      this.goneSince = null;
      this.draw();
    }
    /** Shows the end of an entry that is no longer in the snapshots. */
    finish(over) {
      this.goneSince ??= performance.now();
      this.entry = { ...this.entry, ...over, chain: this.entry.chain, deadline: null, held_ms: 0 };
      this.draw();
    }
    draw() {
      const { entry } = this, isOpen = opened.has(this.id), isGone = this.goneSince !== null;
      this.node.dataset.state = entry.state;
      this.node.classList.toggle("gone", isGone);
      this.node.style.setProperty("--indent", this.indent);
      setText(this.title, entry.name);
      this.open.setAttribute("aria-expanded", String(isOpen));
      this.open.setAttribute("aria-label", `Details of ${entry.name}`);
      const canCancel = entry.state === "running" && !isGone && !this.sent;
      this.cancel.setAttribute("aria-label", `Cancel ${entry.name}${entry.request_id ? `, request ${entry.request_id}` : ""}`);
      // Does not set `disabled`, which would move the focus away from the pressed button.
      this.cancel.setAttribute("aria-disabled", String(!canCancel));
      this.cancel.hidden = !canCancel && document.activeElement !== this.cancel;
      setText(this.cancel, this.sent && !isGone && entry.state === "running" ? "Canceling" : canCancel ? "Cancel" : "Ended");
      this.factsAt.replaceChildren(...(isOpen ? [facts(entry)] : []));
      if (isGone) this.callsAt.replaceChildren();
      else if (entry.spans) this.callsAt.replaceChildren(...calls(entry, false), ...tasks(entry));
      if (isGone && entry.state === "running") this.verdictAt.replaceChildren(el("p", { class: "verdict ended" }, el("b", {}, "answered")));
      this.tick();
    }
    /** Updates the parts that move between two snapshots. */
    tick() {
      const { entry } = this, isGone = this.goneSince !== null;
      const since = isGone ? 0 : performance.now() - this.received;
      const isRunning = entry.state === "running";
      setText(this.age, duration((isGone && entry.took_ms !== undefined ? entry.took_ms : entry.age_ms) + since));
      if (!isRunning) {
        const text = verdict(entry, (entry.held_ms ?? 0) + since, isGone);
        this.verdictAt.replaceChildren(text);
      } else if (!isGone) {
        this.verdictAt.replaceChildren();
      }
      const { deadline } = entry;
      this.time.classList.toggle("none", !deadline || !isRunning);
      if (!deadline || !isRunning) {
        setText(this.left, "");
        setText(this.of, !isRunning || isGone ? "" : "no deadline");
        setText(this.source, "");
        return;
      }
      const left = Math.max(deadline.left_ms - since, 0), share = deadline.of_ms ? left / deadline.of_ms : 0;
      setText(this.left, duration(left));
      setText(this.of, ` of ${limit(deadline.of_ms)} left`);
      setText(this.source, sourceWord(deadline));
      this.source.title = `Deadline ${sourceTitle(deadline)}`;
      this.source.classList.toggle("clamped", deadline.source === "clamped");
      this.time.classList.toggle("low", share < 0.2);
      this.fill.style.transform = `scaleX(${share.toFixed(4)})`;
      this.bar.setAttribute("aria-valuenow", String(Math.round(100 * share)));
      this.bar.setAttribute("aria-valuetext", `${duration(left)} left`);
    }
    async sendCancel() {
      if (this.cancel.getAttribute("aria-disabled") === "true") return;
      this.sent = true;
      this.draw();
      try {
        const answer = await fetch(`${base}/cancel/${this.id}`, { method: "POST", credentials: "same-origin" });
        const told = await answer.json().catch(() => ({}));
        announce(told.canceled ? `Canceled ${this.entry.name}` : `Not canceled: ${told.because ?? answer.statusText}`);
        if (!told.canceled) this.sent = false;
      } catch {
        this.sent = false;
        announce("Not canceled: the server does not answer");
      }
      this.draw();
    }
  }

  // Sorts entries, oldest first, with parents before their children. Adds their depth.
  const asTree = (live) => {
    const shown = new Set(live.map((entry) => entry.id)), children = new Map();
    for (const entry of live) {
      const parent = shown.has(entry.parent) ? entry.parent : null;
      if (!children.has(parent)) children.set(parent, []);
      children.get(parent).push(entry);
    }
    const ordered = [], pending = (children.get(null) ?? []).map((entry) => [entry, 0]).reverse();
    while (pending.length) {
      const [entry, depth] = pending.pop();
      ordered.push([entry, depth]);
      for (const child of (children.get(entry.id) ?? []).reverse()) pending.push([child, depth + 1]);
    }
    return ordered;
  };

  const showLive = (snapshot, received) => {
    const list = byId("live"), wanted = byId("filter").value.trim().toLowerCase();
    const texts = (entry) => [entry.name, entry.request_id ?? "", ...(entry.tasks ?? []).map((task) => task.name ?? "")];
    const matches = (entry) => !wanted || texts(entry).join(" ").toLowerCase().includes(wanted);
    const live = asTree(snapshot.live).filter(([entry]) => matches(entry));
    const seen = new Set(live.map(([entry]) => entry.id));
    const isPointedAt = matchMedia("(hover: hover)").matches && list.matches(":hover");
    let lingering = 0;
    // Runs in reverse order, so that the latest entries linger.
    for (const [id, row] of [...rows].reverse()) {
      if (seen.has(id)) continue;
      const over = snapshot.cut_short.find((entry) => entry.id === id);
      if (over || row.goneSince === null) row.finish(over);
      const isFresh = performance.now() - row.goneSince < LINGER_MS;
      // A row under the pointer does not move. A row that was canceled here or has the focus stays to show the reason.
      const isLookedAt = row.sent || isPointedAt || row.node.contains(document.activeElement);
      const stays = matches(row.entry) && isFresh && (isLookedAt || (over && ++lingering <= MAX_LINGERING));
      if (!stays) { rows.delete(id); opened.delete(id); leave(row.node); }
    }
    let at = list.firstChild;
    for (const [entry, depth] of live) {
      let row = rows.get(entry.id);
      if (!row) rows.set(entry.id, row = new Row(entry));
      row.update(entry, received, Math.min(depth, 6));
      while (at && rows.get(Number(at.dataset.id))?.goneSince != null) at = at.nextSibling;
      if (at === row.node) at = at.nextSibling;
      else list.insertBefore(row.node, at);
    }
    const { summary } = snapshot;
    byId("live-empty").hidden = rows.size > 0;
    setText(byId("live-empty"), wanted && summary.live ? "No live request matches the filter." : "No live requests.");
    setText(byId("live-aside"), [
      summary.live ? `${number(summary.live)}, the oldest first` : "",
      summary.not_shown ? `${number(summary.not_shown)} not shown` : "",
    ].filter(Boolean).join(" · "));
  };

  // Removes a row, and moves its focus to the next row.
  const leave = (node) => {
    if (node.contains(document.activeElement)) {
      const next = node.nextElementSibling ?? node.previousElementSibling;
      (next?.querySelector(".cancel:not([hidden])") ?? byId("live-title")).focus();
    }
    node.remove();
  };

  // ===== finished =====

  let chosen = null;
  const buckets = [];
  const kept = new Map();

  const bucketName = ({ from_ms, to_ms }) =>
    to_ms === null ? `over ${limit(from_ms)}` : from_ms ? `${limit(from_ms).replace(limit(to_ms).endsWith("ms") ? " ms" : from_ms >= 1000 ? " s" : "-", "")} – ${limit(to_ms)}` : `under ${limit(to_ms)}`;

  const showFinished = (snapshot) => {
    const all = [...snapshot.finished.map((bucket) => ({ ...bucket, name: bucketName(bucket) })),
      { name: "Cut short", count: snapshot.cut_short.length, kept: snapshot.cut_short, isCutShort: true }];
    chosen ??= snapshot.cut_short.length ? all.length - 1 : all.findLastIndex((bucket) => bucket.count > 0);
    if (chosen < 0) chosen = null;
    const most = Math.log1p(Math.max(...all.map((bucket) => bucket.count), 1));
    all.forEach((bucket, at) => {
      buckets[at] ??= newBucket(bucket, at);
      const { button, count, fill } = buckets[at];
      button.setAttribute("aria-pressed", String(at === chosen));
      // The snapshot contains only the last failed entries, not their total.
      setText(count, bucket.isCutShort ? `last ${bucket.count}` : number(bucket.count));
      fill.style.transform = `scaleX(${Math.log1p(bucket.count) / most})`;
    });
    setText(byId("over-aside"), `${number(snapshot.summary.finished)} so far; the latest of each are kept, and of those under 1 ms some`);
    // The list does not change while the pointer or the focus is in it.
    const list = byId("kept");
    const isBusy = list.contains(document.activeElement) || (matchMedia("(hover: hover)").matches && list.matches(":hover"));
    if (!isBusy || list.dataset.bucket !== String(chosen)) showKept(all[chosen]?.kept ?? []);
    list.dataset.bucket = String(chosen);
  };

  const newBucket = (bucket, at) => {
    const count = el("span", { class: "count" }), fill = el("i");
    const choose = () => { chosen = at; if (last) showFinished(last); };
    const button = el("button", { type: "button", class: bucket.isCutShort ? "cut-short" : "", on: { click: choose } },
      el("span", {}, bucket.name), el("span", { class: "bar", "aria-hidden": "true" }, fill), count);
    byId("buckets").append(button);
    return { button, count, fill };
  };

  const outcome = (over) => {
    if (over.state === "ended") return over.status ? String(over.status) : "";
    const cause = over.end && why(over.end);
    return `${words[over.state]}${cause ? `: ${cause}` : ""}`;
  };

  const showKept = (list) => {
    const node = byId("kept"), seen = new Set(list.map((over) => over.id));
    for (const [id, row] of kept) {
      // An open entry stays until it is closed.
      if (!seen.has(id) && !(row.isOpen && row.bucket === chosen)) { row.node.remove(); kept.delete(id); }
    }
    let at = node.firstChild;
    for (const over of list) {
      let row = kept.get(over.id);
      if (!row) kept.set(over.id, row = newKept(over));
      row.bucket = chosen;
      row.since = performance.now() - over.ago_ms;
      if (at === row.node) at = at.nextSibling;
      else node.insertBefore(row.node, at);
    }
    showAges();
    byId("kept-empty").hidden = kept.size > 0;
  };

  const showAges = () => kept.forEach((row) => setText(row.ago, `${duration(performance.now() - row.since)} ago`));

  const newKept = (over) => {
    const failed = over.state === "ended" && over.status >= 500 ? "failed" : over.state;
    const ago = el("span", { class: "ago" });
    const story = el("div", { class: "story", hidden: "" });
    const row = { ago, isOpen: false, since: performance.now() - over.ago_ms };
    const toggle = async () => {
      row.isOpen = !row.isOpen;
      button.setAttribute("aria-expanded", String(row.isOpen));
      story.hidden = !row.isOpen;
      if (!row.isOpen || row.isLoaded) return;
      try {
        const answer = await fetch(`${base}/json/${over.id}`, { credentials: "same-origin" });
        if (!answer.ok) throw new Error();
        const whole = await answer.json();
        const held = whole.held_ms >= 1 ? el("p", { class: "more" }, `Its context was held for another ${duration(whole.held_ms)}.`) : null;
        story.replaceChildren(...[whole.state === "ended" ? null : verdict(whole, 0, true), ...calls(whole, true), held, facts(whole)].filter(Boolean));
        row.isLoaded = true;
      } catch {
        story.replaceChildren(el("p", { class: "more" }, "This entry is no longer kept."));
      }
    };
    const button = el("button", { type: "button", "aria-expanded": "false", on: { click: toggle } },
      el("span", { class: "what" }, over.name), el("span", { class: `why ${failed}` }, outcome(over)),
      el("span", { class: "took" }, duration(over.took_ms)), ago);
    row.node = el("li", {}, button, story);
    return row;
  };

  // ===== figures =====

  const showFigures = ({ summary, statuses, counters }) => {
    const draw = (id, figures) => byId(id).replaceChildren(...figures.map(([name, value, warns]) =>
      el("div", { class: !value || value === "–" ? "zero" : warns ? "warn" : "" },
        el("dt", {}, name), el("dd", {}, typeof value === "number" ? number(value) : value))));
    draw("figures", [
      ["In flight", summary.live],
      ["Oldest", summary.oldest_ms === null ? "–" : duration(summary.oldest_ms)],
      ["Held after the end", summary.ended_but_held, true],
      ["Finished", summary.finished],
    ]);
    draw("counters", counters ? [
      ["deadlines received", counters.deadlines_received],
      ["clamped", counters.deadlines_clamped],
      ["malformed headers", Object.values(counters.headers_malformed).reduce((sum, count) => sum + count, 0), true],
      ["expired before start", counters.expired_before_start],
      ["timed out", counters.timed_out],
      ["clients gone", counters.disconnected],
      ["canceled", counters.canceled],
      ["panicked", counters.panicked, true],
      ["detached", counters.detached],
    ] : []);
    draw("statuses", statuses.map(({ name, text }) => [name, text]));
    document.title = summary.live ? `${summary.live} live – Contexts` : "Contexts";
  };

  // ===== live =====

  let stream = null, last = null, received = 0, isPaused = false;
  const status = (text, state = "") => {
    setText(byId("status"), text);
    byId("status").className = `status ${state}`;
  };
  const show = (snapshot) => {
    last = snapshot;
    received = performance.now();
    byId("main").hidden = false;
    showFigures(snapshot);
    showLive(snapshot, received);
    showFinished(snapshot);
  };
  const connect = () => {
    if (stream || isPaused || document.hidden) return;
    stream = new EventSource(`${base}/events`);
    let failures = 0;
    stream.onopen = () => { failures = 0; status("Live", "on"); };
    stream.onmessage = (event) => show(JSON.parse(event.data));
    stream.onerror = () => {
      const isOver = stream?.readyState === EventSource.CLOSED;
      // A stream ends after a minute. The browser then reconnects at once, unless the server has refused the stream.
      failures += 1;
      if (isOver || failures > 1) status("Not connected: the server has stopped, or refuses this page", "off");
      if (isOver) { stream = null; setTimeout(connect, 3000); }
    };
  };
  const disconnect = () => { stream?.close(); stream = null; };

  byId("json").href = `${base}/json`;
  byId("filter").addEventListener("input", () => { if (last) showLive(last, received); });
  byId("pause").addEventListener("click", (event) => {
    isPaused = !isPaused;
    event.currentTarget.setAttribute("aria-pressed", String(isPaused));
    setText(event.currentTarget, isPaused ? "Resume" : "Pause");
    if (isPaused) { disconnect(); status("Paused"); } else { status("Connecting…"); connect(); }
  });
  // A hidden page closes its stream.
  document.addEventListener("visibilitychange", () => document.hidden ? disconnect() : connect());
  setInterval(() => { if (!isPaused && stream) rows.forEach((row) => row.tick()); }, matchMedia("(prefers-reduced-motion: reduce)").matches ? 1000 : 100);
  // An idle server sends nothing, but lingering entries must still be removed.
  setInterval(() => { if (last && stream) { showLive(last, received); showAges(); } }, 1000);
  connect();
}
