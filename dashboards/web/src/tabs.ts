// Opens the tabs of cards: of a card with several lists the page has only the one that it shows, and another is asked
// for when its tab is opened. The address then names it, so that a reload or a bookmark shows the same.
import { changed, keep } from "./links";

export async function openTab(tab: HTMLAnchorElement, shown: () => void): Promise<void> {
  const list = tab.closest(".card")?.querySelector<HTMLElement>(".list");
  const name = tab.dataset.tabs;
  if (!list || !name || list.dataset.part === name) return;
  tab.parentElement?.querySelector("[aria-current]")?.removeAttribute("aria-current");
  tab.setAttribute("aria-current", "true");
  list.dataset.part = name;
  list.setAttribute("aria-busy", "true");
  history.replaceState(null, "", tab.href);
  const tabs = [...document.querySelectorAll<HTMLAnchorElement>("a[data-tabs]")];
  for (const other of tabs) other.href = changed(other.href, "tabs", opening(other));
  keep("tabs", opening(tab));
  const response = await fetch(tab.dataset.card + location.search).catch(() => undefined);
  const done = (): boolean => list.dataset.part !== name || !list.hasAttribute("aria-busy");
  if (done()) return; // another tab of the card was opened meanwhile, or the page has been made fresh with this one
  // The page as a whole says what is wrong, or asks who is there.
  if (!response?.ok || response.redirected) return location.reload();
  const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
  if (done()) return;
  list.replaceChildren(...fresh.body.childNodes);
  list.removeAttribute("aria-busy");
  shown();
}

// The value of the parameter for the page that has the tab open, and of the other cards what they show.
function opening(tab: HTMLAnchorElement): string {
  const open: string[] = [];
  for (const card of document.querySelectorAll(".cards .tabs")) {
    const shown = card.contains(tab) ? tab : card.querySelector<HTMLElement>("[aria-current]");
    if (shown && shown !== card.firstElementChild) open.push(shown.dataset.tabs ?? "");
  }
  return open.join(",");
}
