// The pages work without this file. It adds copying, keys, the viewer's time zone and
// the refresh of parts with `data-refresh`.
"use strict";

const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;

function rememberZone() {
  const name = "workertoolbox_zone";
  if (document.cookie.split("; ").includes(`${name}=${zone}`)) return;
  document.cookie = `${name}=${zone}; path=/; max-age=31536000; samesite=lax`;
  // The server wrote this page in UTC; the next ones are in the zone of the viewer.
  const two = (number) => String(number).padStart(2, "0");
  for (const each of document.querySelectorAll("time[datetime]:not([data-age])")) {
    const at = new Date(each.dateTime);
    const day = [at.getFullYear(), two(at.getMonth() + 1), two(at.getDate())].join("-");
    const clock = [at.getHours(), at.getMinutes(), at.getSeconds()].map(two).join(":");
    each.textContent = `${day} ${clock}`;
  }
}

function showCopyButtons(root) {
  // Over HTTP, a page that is not from this machine may not write to the clipboard.
  if (!navigator.clipboard) return;
  for (const each of root.querySelectorAll(".copy[hidden]")) each.hidden = false;
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest(".copy");
  if (!button) return;
  await navigator.clipboard.writeText(button.dataset.copy);
  const before = button.textContent;
  button.textContent = "Copied";
  setTimeout(() => (button.textContent = before), 1500);
});

// Rows of a table: the first link of each is opened by Enter.
function move(step) {
  const rows = [...document.querySelectorAll("main tbody tr")].filter((row) =>
    row.querySelector("a")
  );
  if (!rows.length) return;
  const current = rows.findIndex((row) => row.contains(document.activeElement));
  const next = current < 0 ? (step > 0 ? 0 : rows.length - 1) : current + step;
  const row = rows[Math.max(0, Math.min(next, rows.length - 1))];
  const link = row.querySelector("a");
  link.focus({ preventScroll: true });
  row.scrollIntoView({ block: "nearest" });
}

// Who speaks to the browser, or types by accident, can switch the keys off.
const KEYS = "workertoolbox_keys";

function areKeysUsed() {
  try {
    return localStorage.getItem(KEYS) !== "off";
  } catch {
    return true;  // The browser keeps nothing for this page.
  }
}

function offerKeys() {
  const button = document.querySelector("#show-keys");
  if (!button) return;
  const box = document.querySelector("#use-keys");
  button.hidden = false;
  button.addEventListener("click", () => document.querySelector("#keys").showModal());
  box.checked = areKeysUsed();
  box.addEventListener("change", () => {
    try {
      localStorage.setItem(KEYS, box.checked ? "on" : "off");
    } catch {}
  });
}

let isGoing = false;

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const target = event.target;
  if (target.closest("input, textarea, select, dialog")) {
    if (event.key === "Escape") target.blur();
    return;
  }
  if (!areKeysUsed()) return;
  if (isGoing) {
    isGoing = false;
    const link = document.querySelector(`nav a[data-key="${CSS.escape(event.key)}"]`);
    if (link) link.click();
    return;
  }
  const actions = {
    j: () => move(1),
    k: () => move(-1),
    g: () => (isGoing = true),
    "/": () => (document.querySelector("#query") || document.querySelector("#jump")).focus(),
    "?": () => document.querySelector("#keys").showModal(),
  };
  if (!(event.key in actions)) return;
  event.preventDefault();
  actions[event.key]();
});

// A part of a page is read again only while somebody can see it, and not while its text
// is selected or a menu in it is open.
function refresh() {
  if (document.visibilityState !== "visible") return;
  if (String(document.getSelection())) return;
  for (const each of document.querySelectorAll("[data-refresh]")) {
    if (!each.dataset.paused) htmx.trigger(each, "refresh");
  }
}

// A refresh neither closes what the viewer has opened nor hides buttons.
if (window.Idiomorph) {
  Idiomorph.defaults.callbacks.beforeAttributeUpdated = (name, node) =>
    !(name === "open" && node.matches("details, dialog")) &&
    !(name === "hidden" && node.matches(".copy"));
}

// While the server does not answer, the page says since when it has not been refreshed.
let refreshedAt = new Date();

function showOutage(event) {
  const part = event.target.closest("[data-refresh]");
  if (!part || document.querySelector("#outage")) return;
  const notice = document.createElement("p");
  notice.id = "outage";
  notice.className = "notice";
  notice.setAttribute("role", "status");
  const since = refreshedAt.toTimeString().slice(0, 8);
  notice.textContent = `Not refreshed since ${since}: the server does not answer.`;
  part.before(notice);
}

document.addEventListener("htmx:responseError", showOutage);
document.addEventListener("htmx:sendError", showOutage);
document.addEventListener("htmx:afterSwap", () => {
  refreshedAt = new Date();
  document.querySelector("#outage")?.remove();
});

// Rows that a refresh adds above what the viewer reads do not move it. Browsers anchor
// the content of a page themselves, but not that of a table which scrolls on its own.
let anchor = null;

document.addEventListener("htmx:beforeSwap", (event) => {
  const isSeen = (each) => each.getBoundingClientRect().top >= 0;
  const focused = document.activeElement.closest("main [id]:not(main)");
  const rows = event.detail.target.querySelectorAll("tr[id], li[id]");
  const each = [focused, ...rows].find((row) => row && isSeen(row));
  const isMoved = each && window.scrollY > 0;
  anchor = isMoved ? { id: each.id, top: each.getBoundingClientRect().top } : null;
});

document.addEventListener("htmx:afterSwap", () => {
  const each = anchor && document.getElementById(anchor.id);
  if (each) window.scrollBy(0, each.getBoundingClientRect().top - anchor.top);
  anchor = null;
});

document.addEventListener("DOMContentLoaded", () => {
  rememberZone();
  offerKeys();
  showCopyButtons(document);
  // On a phone the navigation scrolls on its own.
  const current = document.querySelector(".pages [aria-current]");
  if (current) current.scrollIntoView({ block: "nearest", inline: "center" });
  const part = document.querySelector("[data-refresh]");
  if (part) setInterval(refresh, Number(part.dataset.refresh) * 1000);
  document.addEventListener("visibilitychange", refresh);
});
document.addEventListener("htmx:load", (event) => showCopyButtons(event.detail.elt));
