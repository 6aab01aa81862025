"use strict";
// Reads the reports of all services each second. All data is inserted as text.

const base = "/debug/fleet";
const $ = (id) => document.getElementById(id);
const make = (tag, text, name) => {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  if (name) element.className = name;
  return element;
};
const time = (ms) => ms >= 60000 ? `${Math.round(ms / 60000)} min` : ms >= 1000 ? `${(ms / 1000).toFixed(1)} s` : `${Math.round(ms)} ms`;
const canceling = new Map(); // the answer to a cancel, by request ID

function left(deadline) {
  if (!deadline) return make("span", "no deadline", "soft");
  const part = Math.max(0, Math.min(1, deadline.left_ms / deadline.of_ms));
  const cell = make("div", undefined, part < 0.2 ? "left low" : "left");
  const track = make("i"), bar = make("b");
  bar.style.width = `${part * 100}%`;
  track.append(bar);
  cell.append(track, make("span", time(Math.max(0, deadline.left_ms))));
  return cell;
}

async function cancel(id, button) {
  button.disabled = true;
  canceling.set(id, "…");
  try {
    const answer = await fetch(`${base}/cancel/${encodeURIComponent(id)}`, { method: "POST" });
    const text = await answer.json();
    canceling.set(id, text.canceled ? "Canceled" : text.because);
  } catch {
    canceling.delete(id);
  }
  read();
}

function row(member, context) {
  const row = document.createElement("tr");
  const cell = (content, name) => {
    const td = make("td", undefined, name);
    td.append(content);
    row.append(td);
  };
  cell(make("span", member.name));
  cell(make("code", context.name));
  cell(make("span", context.request_id ?? "", "mono"));
  return { row, cell };
}

function showServices(members) {
  $("services").replaceChildren(...members.map(({ name, report }) => {
    const item = make("li");
    const link = make("a", name);
    link.href = `http://${report.address}/debug/contexts`;
    const title = make("strong");
    title.append(link);
    const counts = `${report.live.length + report.not_shown} in flight, ${report.ended_early.length} ended early`;
    const redis = report.redis.available ? "Redis answers" : `Redis does not answer; limits: ${report.redis.limits}`;
    item.append(title, make("div", report.address, "mono soft"), make("div", counts), make("div", redis, report.redis.available ? "soft" : "bad"));
    return item;
  }));
}

function showContexts(members) {
  const rows = members.flatMap((member) => member.report.live.map((context) => {
    const { row: tr, cell } = row(member, context);
    cell(make("span", time(context.age_ms)), "number");
    cell(left(context.deadline));
    const id = context.request_id;
    const answer = id && canceling.get(id);
    if (answer) {
      cell(make("span", answer, "soft"));
    } else if (id && context.state === "running") {
      const button = make("button", "Cancel");
      button.dataset.id = id;
      button.setAttribute("aria-label", `Cancel ${context.name} of ${member.name}`);
      button.addEventListener("click", () => cancel(id, button));
      cell(button);
    } else {
      cell("");
    }
    return tr;
  }));
  fill("contexts", rows);
}

function showEnded(members) {
  const all = members.flatMap((member) => member.report.ended_early.map((context) => ({ member, context })));
  all.sort((one, other) => one.context.ago_ms - other.context.ago_ms);
  fill("ended", all.slice(0, 50).map(({ member, context }) => {
    const { row: tr, cell } = row(member, context);
    cell(make("span", context.why), "why");
    cell(make("span", `${time(context.ago_ms)} ago`), "number");
    return tr;
  }));
}

function fill(id, rows) {
  // Keeps the keyboard's focus on the button of the same context.
  const focused = document.activeElement?.dataset?.id;
  const table = $(id);
  table.tBodies[0].replaceChildren(...rows);
  table.hidden = rows.length === 0;
  $(`no-${id}`).hidden = rows.length !== 0;
  if (focused) table.querySelector(`button[data-id="${CSS.escape(focused)}"]`)?.focus();
}

async function read() {
  const state = $("state");
  try {
    const answer = await fetch(`${base}/json`);
    const data = await answer.json();
    if (!answer.ok) throw new Error(data.because);
    showServices(data.members);
    const jobs = data.jobs;
    $("jobs").textContent = jobs ? `Jobs: ${jobs.waiting} waiting, ${jobs.running} running, ${jobs.delayed} to be tried again, ${jobs.done} done, ${jobs.dead} failed` : "";
    showContexts(data.members);
    showEnded(data.members);
    state.textContent = data.because ?? `${data.members.length} ${data.members.length === 1 ? "service" : "services"}, read ${new Date().toLocaleTimeString()}`;
    state.className = data.because ? "bad" : "";
  } catch (error) {
    state.textContent = `The services cannot be read: ${error.message}`;
    state.className = "bad";
  }
}

async function repeat() {
  if (!document.hidden) await read();
  setTimeout(repeat, 1000);
}
repeat();
