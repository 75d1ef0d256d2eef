// What pages do with a script: times that stay true, keys, copying, and the live tail. Everything but
// the tail works without it.
"use strict";

const $ = (id) => document.getElementById(id);

// Times

function relative(at, now) {
  const seconds = Math.floor(Math.abs(now - at) / 1000);
  if (seconds === 0) return "now";
  let text = `${Math.floor(seconds / 86400)}d`;
  if (seconds < 60) text = `${seconds}s`;
  else if (seconds < 3600) text = `${Math.floor(seconds / 60)}m`;
  else if (seconds < 172800) text = `${Math.floor(seconds / 3600)}h`;
  return at > now ? `in ${text}` : `${text} ago`;
}

function renewTimes() {
  const now = Date.now();
  for (const time of document.querySelectorAll("time[datetime]")) {
    time.textContent = relative(Date.parse(time.dateTime), now);
  }
}

setInterval(renewTimes, 5000);

// Keys

let row = -1;

function goTo(step) {
  const rows = [...document.querySelectorAll("table.rows tbody tr")];
  if (rows.length === 0) return;
  row = Math.min(rows.length - 1, Math.max(0, row + step));
  rows.forEach((one, at) => one.classList.toggle("at", at === row));
  const link = rows[row].querySelector("a");
  if (link) link.focus();
  rows[row].scrollIntoView({ block: "nearest" });
}

document.addEventListener("keydown", (event) => {
  const inField = event.target.closest("input, textarea, select, [contenteditable]");
  if (inField && event.key === "Escape") inField.blur();
  if (inField || event.ctrlKey || event.metaKey || event.altKey) return;
  switch (event.key) {
    case "/": {
      const field = document.querySelector(".filters input, main input:not([type=hidden])");
      if (!field) return;
      field.focus();
      field.select();
      break;
    }
    case "j": goTo(1); break;
    case "k": goTo(-1); break;
    case "?": $("help").showModal(); break;
    default: return;
  }
  event.preventDefault();
});

// Copying

for (const button of document.querySelectorAll("button.copy")) {
  if (!navigator.clipboard) continue;
  button.hidden = false;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText($(button.dataset.copy).textContent);
    button.textContent = "Copied";
  });
}

// What was said once is not said again when the page is loaded again.

if (location.search.includes("said=")) {
  const address = new URL(location.href);
  address.searchParams.delete("said");
  history.replaceState(null, "", address);
}

// Pages of jobs look again by themselves while they are in sight and nothing on them is in use.

if (document.querySelector("main progress")) {
  // Loading the page again would cancel a way to another one.
  let leaves = false;
  addEventListener("beforeunload", () => { leaves = true; });
  setInterval(() => {
    const inUse = leaves || document.querySelector("dialog[open], main :focus");
    if (!document.hidden && !inUse) location.reload();
  }, 5000);
}

// The code of a link to the portal is in the fragment, which browsers send to nobody. It is taken out
// of the address, and posted.

const link = location.hash.match(/^#c=([\w-]+)$/);
if (link) {
  const form = $("enter");
  if (form) {
    history.replaceState(null, "", location.pathname);
    form.elements.code.value = link[1];
    form.submit();
  } else if (location.pathname.startsWith("/portal/")) {
    // Somebody is let in already: the new link replaces that.
    location.replace(`/portal/enter${location.hash}`);
  }
}

// Live tail

const MOST_ROWS = 500;
const tail = $("tail");
const base = tail ? tail.dataset.base : "";

function cell(text, href) {
  const cell = document.createElement("td");
  if (href && text) {
    const link = document.createElement("a");
    link.href = href;
    link.className = "id";
    link.textContent = text;
    cell.append(link);
  } else {
    cell.textContent = text || "";
  }
  return cell;
}

function timeCell(at) {
  const cell = document.createElement("td");
  const time = document.createElement("time");
  time.dateTime = at;
  time.title = at;
  time.textContent = relative(Date.parse(at), Date.now());
  cell.append(time);
  return cell;
}

function badgeCell(tone, text) {
  const cell = document.createElement("td");
  const badge = document.createElement("span");
  badge.className = `badge ${tone}`;
  const sign = { good: "✓", bad: "✕", warn: "!", plain: "…" }[tone];
  badge.textContent = `${sign} ${text}`;
  cell.append(badge);
  return cell;
}

function accepted(event) {
  const page = `${base}/events/${encodeURIComponent(event.id)}`;
  const to = event.deliveries === 1 ? "1 endpoint" : `${event.deliveries} endpoints`;
  return [timeCell(event.accepted_at), cell("accepted"), cell(event.id, page), cell(event.type),
    cell(event.source ? `from ${event.source}` : ""), badgeCell("plain", `for ${to}`)];
}

function attempt(one) {
  const page = `${base}/events/${encodeURIComponent(one.event)}/deliveries/${encodeURIComponent(one.endpoint)}`;
  const result = one.error ? `${one.status || one.error.kind}: ${one.error.detail}` : `${one.status}`;
  return [timeCell(one.at), cell("attempt"), cell(one.event, page), cell(one.type),
    cell(one.endpoint, `${base}/endpoints/${encodeURIComponent(one.endpoint)}`),
    badgeCell(one.error ? "bad" : "good", `${result} (${one.duration_ms} ms)`)];
}

function endpoint(change) {
  const words = change.state.replace("_", " ") + (change.reason ? ` (${change.reason})` : "");
  const good = change.state === "enabled" || change.state === "breaker_closed";
  return [timeCell(change.at), cell("endpoint"), cell(""), cell(""),
    cell(change.endpoint, `${base}/endpoints/${encodeURIComponent(change.endpoint)}`),
    badgeCell(good ? "good" : "warn", words)];
}

function follow() {
  const rows = $("happened");
  let waiting = [];
  let paused = false;
  let missed = 0;
  const miss = (count) => { missed += count; $("missed").textContent = missed; };
  const show = () => {
    if (paused || waiting.length === 0) return;
    const batch = document.createDocumentFragment();
    for (const cells of waiting.splice(0).reverse()) {
      const line = document.createElement("tr");
      line.append(...cells());
      batch.append(line);
    }
    rows.prepend(batch);
    while (rows.childElementCount > MOST_ROWS) rows.lastElementChild.remove();
  };
  const keep = (make) => (message) => {
    const happened = JSON.parse(message.data);
    waiting.push(() => make(happened));
    if (waiting.length > MOST_ROWS) { waiting.shift(); miss(1); }
  };
  // Drawn a few times a second, however much comes.
  setInterval(show, 250);
  const source = new EventSource(tail.dataset.stream);
  source.addEventListener("open", () => { $("state").textContent = "connected"; });
  source.addEventListener("error", () => {
    $("state").textContent = source.readyState === 2 ? "ended: load the page again" : "connecting again…";
  });
  source.addEventListener("accepted", keep(accepted));
  source.addEventListener("attempt", keep(attempt));
  source.addEventListener("endpoint", keep(endpoint));
  source.addEventListener("missed", (message) => miss(Number(message.data)));
  $("pause").addEventListener("click", (event) => {
    paused = !paused;
    event.target.setAttribute("aria-pressed", String(paused));
    event.target.textContent = paused ? "Go on" : "Pause";
    show();
  });
  $("clear").addEventListener("click", () => rows.replaceChildren());
}

if (tail) follow();
