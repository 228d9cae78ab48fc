// Keeps a page as the service has it: asks for the page again, and replaces the parts that changed.
//
// Parts are marked data-live and have an id. One that the keyboard's focus or a selection is in is
// left alone until it is not. The page says how often (data-poll on main, in seconds), and when to
// stop, by saying it no more. Nothing is built from text here: the service escaped it.
"use strict";
(() => {
  const LONGEST_S = 60;
  const main = document.querySelector("main");
  const status = document.getElementById("status");
  const pause = document.getElementById("pause");
  let everyS = Number(main.dataset.poll);
  let waitS = everyS;
  let tag = null;
  let paused = false;
  let timer = 0;
  let busy = false;
  // as the service sent it: what a reader opened or closed since is theirs
  const parts = [...document.querySelectorAll("[data-live]")];
  const served = new Map(parts.map((part) => [part, part.innerHTML]));

  const isInUse = (part) => {
    const chosen = document.getSelection();
    const selects = chosen && !chosen.isCollapsed && part.contains(chosen.anchorNode);
    return selects || part.contains(document.activeElement);
  };

  const replaced = (fresh) => {
    let whole = true;
    for (const part of parts) {
      const next = fresh.getElementById(part.id);
      if (!next || next.innerHTML === served.get(part)) continue;
      if (isInUse(part)) {
        whole = false;
        continue;
      }
      served.set(part, next.innerHTML);
      part.replaceChildren(...document.importNode(next, true).childNodes);
    }
    document.title = fresh.title;
    return whole;
  };

  const refresh = async () => {
    const headers = tag ? { "If-None-Match": tag } : {};
    const answer = await fetch(location.href, { headers, redirect: "manual", cache: "no-store" });
    if (answer.status === 304) return true;
    if (answer.type === "opaqueredirect") {
      if (status) status.textContent = "You were signed out; load the page again to sign in.";
      return false;
    }
    if (!answer.ok) throw new Error(`the service answered ${answer.status}`);
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    const whole = replaced(fresh);
    tag = whole ? answer.headers.get("ETag") : null;
    const next = Number(fresh.querySelector("main")?.dataset.poll);
    if (next) everyS = next;
    if (next || !whole) return true;
    const updates = document.getElementById("updates");
    if (updates) updates.textContent = "The job has ended: nothing here changes any more.";
    if (pause && pause !== document.activeElement) pause.hidden = true;
    return false;
  };

  const turn = async () => {
    if (busy) return;
    busy = true;
    let goesOn = true;
    try {
      if (!document.hidden) goesOn = await refresh();
      waitS = everyS;
    } catch {
      waitS = Math.min(2 * waitS, LONGEST_S); // the service is down for now, or the network is
    }
    busy = false;
    if (goesOn && !paused) timer = setTimeout(turn, 1000 * waitS);
  };

  if (pause) {
    pause.hidden = false;
    pause.addEventListener("click", () => {
      paused = !paused;
      pause.setAttribute("aria-pressed", String(paused));
      clearTimeout(timer);
      if (!paused) turn();
    });
  }
  document.querySelector(".scriptless")?.remove();
  document.addEventListener("visibilitychange", () => {
    if (document.hidden || paused) return;
    clearTimeout(timer);
    turn();
  });
  timer = setTimeout(turn, 1000 * waitS);
})();
