// Keeps the parts marked data-live up to date by fetching the same page again, and copies what stands in an element.
// Everything works without it, by reloading.
"use strict";

const EVERY_MS = 2000;
let answeredAt = Date.now();

function swap(fresh) {
  for (const part of document.querySelectorAll("[data-live]")) {
    const next = fresh.querySelector(`[data-live="${part.dataset.live}"]`);
    part.classList.toggle("stale", !next);  // what it says was true before
    if (!next || next.innerHTML === part.innerHTML) continue;
    // Not while somebody reads, selects or types in it.
    if (part.contains(document.activeElement) || part.querySelector("details[open]") || selected(part)) continue;
    const before = new Map([...part.querySelectorAll("[data-value]")].map((each) => [each.dataset.value, each.textContent]));
    part.replaceChildren(...next.cloneNode(true).childNodes);
    for (const each of part.querySelectorAll("[data-value]")) {
      if (before.has(each.dataset.value) && before.get(each.dataset.value) !== each.textContent) each.classList.add("changed");
    }
  }
  document.title = fresh.title;
}

function selected(part) {
  const selection = document.getSelection();
  return selection && !selection.isCollapsed && selection.containsNode(part, true);
}

function pulse(alive, who) {
  const mark = document.getElementById("pulse");
  if (!mark) return;
  mark.hidden = false;
  mark.className = alive ? "alive" : "silent";
  mark.textContent = alive ? ", live" : `; ${who} has not answered for ${Math.round((Date.now() - answeredAt) / 1000)} s`;
}

async function refresh() {
  if (document.hidden) return;
  try {
    const answer = await fetch(location.href, { headers: { accept: "text/html" }, signal: AbortSignal.timeout(8000) });
    if (answer.status === 401) return location.reload();
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    const parts = [...fresh.querySelectorAll("[data-live]")].map((part) => part.dataset.live);
    if (!answer.ok && !parts.length) throw new Error(String(answer.status));
    if (parts.some((name) => !document.querySelector(`[data-live="${name}"]`))) return location.reload();
    answeredAt = Date.now();
    swap(fresh);
    pulse(true);
  } catch (error) {
    pulse(false, error.message === "503" ? "the store" : "the gateway");
  }
}

async function keepFresh() {
  if (!document.querySelector("[data-live]")) return;
  pulse(true);
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, EVERY_MS));
    await refresh();
  }
}

for (const button of document.querySelectorAll("[data-copy]")) {
  if (!navigator.clipboard) continue;  // not on plain http of another machine
  button.hidden = false;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
}

keepFresh();
