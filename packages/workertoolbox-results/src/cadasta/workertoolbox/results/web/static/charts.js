// Shows the values below the pointer at once; without this file the browser shows them
// after a while.
"use strict";

{
  const tip = document.createElement("div");
  tip.className = "tip";
  tip.hidden = true;
  tip.setAttribute("aria-hidden", "true");

  let shown = null;

  function hide() {
    if (shown) shown.slot.append(shown.title);
    shown = null;
    tip.hidden = true;
  }

  function show(slot) {
    const title = slot.querySelector("title");
    if (!title) return;
    title.remove(); // Or the browser shows it too.
    shown = { slot, title };
    tip.textContent = title.textContent;
    tip.hidden = false;
    const area = slot.getBoundingClientRect();
    const middle = area.left + area.width / 2 - tip.offsetWidth / 2;
    const most = document.documentElement.clientWidth - tip.offsetWidth - 8;
    tip.style.left = `${scrollX + Math.max(8, Math.min(middle, most))}px`;
    tip.style.top = `${scrollY + area.top - tip.offsetHeight - 6}px`;
  }

  document.addEventListener("pointerover", (event) => {
    const slot = event.target.closest?.(".slot, .release-name");
    if (shown && shown.slot === slot) return;
    hide();
    if (slot) show(slot);
  });
  document.addEventListener("scroll", hide, { passive: true });
  document.addEventListener("htmx:beforeSwap", hide);
  document.addEventListener("htmx:afterSettle", () => {
    const slot = document.querySelector(":is(.slot, .release-name):hover");
    if (slot) show(slot);
  });
  document.addEventListener("DOMContentLoaded", () => document.body.append(tip));
}
