// Keeps an open page fresh. A small request every second or so says how many visitors are active and whether any
// number has changed. Only then is the page fetched again, and only the parts that differ are replaced, so that open
// tabs, tables and the scroll position stay as they are.
import { language } from "./words";

const AT_LEAST = 1000; // ms between requests
const SHARE = 2; // times as long as the last response took: a busy server gets fewer requests
const AFTER_FAILURE = 5000;

type Answer = { current: number; mark: string };

export function keepFresh(changed: () => void): void {
  let timer: ReturnType<typeof setTimeout> | undefined;
  let asking = false;

  const ask = async (): Promise<void> => {
    const board = document.getElementById("board");
    const address = board?.dataset.now;
    if (!board || !address || document.hidden || asking) return;
    asking = true;
    const began = performance.now();
    let wait = AFTER_FAILURE;
    try {
      const response = await fetch(address);
      // The session has expired: loading the page leads to the login.
      if (response.status === 401) location.reload();
      if (response.ok) {
        const answer = (await response.json()) as Answer;
        showCurrent(answer.current);
        if (answer.mark !== board.dataset.mark) await renew(changed);
        wait = Math.max(AT_LEAST, SHARE * (performance.now() - began));
      }
    } catch {
      // The server is away for a moment: the next request will show.
    }
    asking = false;
    timer = setTimeout(ask, wait);
  };

  document.addEventListener("visibilitychange", () => {
    clearTimeout(timer);
    if (!document.hidden) void ask();
  });
  timer = setTimeout(ask, AT_LEAST);
}

function showCurrent(current: number): void {
  const shown = document.querySelector("[data-current]");
  const text = current.toLocaleString(language);
  if (shown && shown.textContent !== text) shown.textContent = text;
  document.querySelector(".now .pulse")?.classList.toggle("still", current === 0);
}

// Fetches the page again and replaces the parts of it that differ.
export async function renew(changed: () => void): Promise<void> {
  const response = await fetch(location.href);
  if (response.redirected) return location.reload(); // to the login
  if (!response.ok) return;
  const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
  const [here, there] = [document.getElementById("board"), fresh.getElementById("board")];
  if (!here || !there) return;
  if (here.dataset.page !== there.dataset.page) {
    document.querySelector("header")?.replaceWith(fresh.querySelector("header")!);
    here.replaceWith(there);
  } else {
    replaceParts(here, there);
    here.dataset.mark = there.dataset.mark;
  }
  changed();
}

export function replaceParts(here: Element, there: ParentNode): void {
  for (const part of there.querySelectorAll<HTMLElement>("[data-part]")) {
    const old = here.querySelector(`[data-part="${part.dataset.part}"]`);
    if (!old || old.innerHTML === part.innerHTML) continue;
    const focused = old.contains(document.activeElement) ? (document.activeElement as HTMLElement) : null;
    old.replaceChildren(...part.childNodes);
    old.removeAttribute("aria-busy"); // of a tab that is being opened
    if (focused) sameIn(old, focused)?.focus();
  }
}

// The element that has taken another's place: the one of its id, or the link to the same value of a list.
function sameIn(part: Element, gone: HTMLElement): HTMLElement | null | undefined {
  if (gone.id) return document.getElementById(gone.id);
  return [...part.querySelectorAll<HTMLElement>("a")].find((link) => link.title === gone.title && !link.id);
}
