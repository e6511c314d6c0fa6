// Completion of the query on the page of tasks: a combobox as in
// https://www.w3.org/WAI/ARIA/apg/patterns/combobox/. Without this file, the box is a
// plain text field.
"use strict";

function completeQueries(box) {
  const list = document.createElement("ul");
  list.className = "completions";
  list.id = `${box.id}-completions`;
  list.hidden = true;
  list.setAttribute("role", "listbox");
  list.setAttribute("aria-label", "Completions");
  box.after(list);
  for (const [name, value] of [
    ["role", "combobox"],
    ["aria-autocomplete", "list"],
    ["aria-expanded", "false"],
    ["aria-controls", list.id],
  ])
    box.setAttribute(name, value);

  let found = { kept: "", options: [] };
  let chosen = -1;
  let timer = 0;
  let asked = 0;

  function close() {
    clearTimeout(timer);
    asked += 1; // An answer that is on its way is too late.
    list.hidden = true;
    chosen = -1;
    box.setAttribute("aria-expanded", "false");
    box.removeAttribute("aria-activedescendant");
  }

  function choose(number) {
    chosen = number;
    [...list.children].forEach((each, index) =>
      each.setAttribute("aria-selected", String(index === number))
    );
    if (number < 0) box.removeAttribute("aria-activedescendant");
    else {
      box.setAttribute("aria-activedescendant", list.children[number].id);
      list.children[number].scrollIntoView({ block: "nearest" });
    }
  }

  function show(answer) {
    found = answer;
    list.replaceChildren(
      ...answer.options.map((option, number) => {
        const item = document.createElement("li");
        item.id = `${list.id}-${number}`;
        item.setAttribute("role", "option");
        item.setAttribute("aria-selected", "false");
        const label = document.createElement("code");
        label.textContent = option.label;
        const hint = document.createElement("small");
        hint.textContent = option.hint;
        item.append(label, hint);
        return item;
      })
    );
    list.hidden = !answer.options.length;
    box.setAttribute("aria-expanded", String(!list.hidden));
    choose(-1);
  }

  async function ask() {
    const number = ++asked;
    const text = box.value.slice(0, box.selectionStart);
    const url = `${box.dataset.completions}?${new URLSearchParams({ text })}`;
    const response = await fetch(url).catch(() => null);
    if (!response?.ok) return;
    const answer = await response.json();
    if (number === asked && document.activeElement === box) show(answer);
  }

  function accept(number) {
    const option = found.options[number];
    const rest = box.value.slice(box.selectionStart);
    const isField = /[:.]$/.test(option.text);
    const before = `${found.kept}${option.text}${isField || /^\s/.test(rest) ? "" : " "}`;
    box.value = before + rest;
    box.setSelectionRange(before.length, before.length);
    close();
    if (isField) ask();
  }

  box.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(ask, 120);
  });
  box.addEventListener("blur", close);
  box.addEventListener("keydown", (event) => {
    const last = found.options.length - 1;
    if (list.hidden) {
      if (event.key === "ArrowDown") {
        event.preventDefault();
        ask();
      }
      return;
    }
    const actions = {
      ArrowDown: () => choose(chosen < last ? chosen + 1 : -1),
      ArrowUp: () => choose(chosen < 0 ? last : chosen - 1),
      Escape: close,
    };
    if (chosen >= 0) actions.Enter = actions.Tab = () => accept(chosen);
    if (!(event.key in actions)) return;
    event.preventDefault();
    event.stopPropagation();
    actions[event.key]();
  });
  // Not `click`, before which the box would lose the focus.
  list.addEventListener("mousedown", (event) => {
    event.preventDefault();
    const item = event.target.closest("li");
    if (item) accept([...list.children].indexOf(item));
  });
}

document.addEventListener("DOMContentLoaded", () => {
  for (const box of document.querySelectorAll("[data-completions]")) completeQueries(box);
});
