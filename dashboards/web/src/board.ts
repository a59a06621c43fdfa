// The page works without this script. It draws the chart, keeps an open page fresh and adds small conveniences.
import "uplot/dist/uPlot.min.css";
import "./board.css";
import { Chart } from "./chart";
import { nameCountries } from "./countries";
import { keepFresh } from "./fresh";
import { keep } from "./links";
import { watchLive } from "./live";
import { openTab } from "./tabs";

let chart: Chart | undefined;

function draw(): void {
  const place = document.getElementById("chart");
  const series = document.getElementById("series");
  if (!place || !series) return;
  if (!chart || chart.place !== place) {
    chart?.destroy();
    chart = new Chart(place);
  }
  chart.show(JSON.parse(series.textContent ?? "{}"));
}

// Draws the chosen metric at once and changes the address, so that a reload or a bookmark shows the same.
function choose(link: HTMLAnchorElement): void {
  const metric = link.dataset.metric;
  if (!metric || !chart) return;
  for (const other of document.querySelectorAll("[data-metric][aria-current]")) other.removeAttribute("aria-current");
  link.setAttribute("aria-current", "true");
  history.replaceState(null, "", link.href);
  keep("metric", metric);
  chart.metric = metric;
  draw();
}

function copy(button: HTMLElement): void {
  const text = document.getElementById(button.dataset.copy ?? "")?.textContent ?? "";
  navigator.clipboard.writeText(text).then(() => {
    const [words, done] = [button.textContent, button.dataset.done ?? ""];
    if (words === done) return;
    button.textContent = done;
    setTimeout(() => (button.textContent = words), 2000);
  });
}

document.addEventListener("click", (event) => {
  const target = event.target as Element;
  const figure = target.closest<HTMLAnchorElement>("a[data-metric]");
  if (figure && !event.metaKey && !event.ctrlKey && !event.shiftKey) {
    event.preventDefault();
    choose(figure);
  }
  const tab = target.closest<HTMLAnchorElement>("a[data-tabs]");
  if (tab && !event.metaKey && !event.ctrlKey && !event.shiftKey) {
    event.preventDefault();
    void openTab(tab, nameCountries);
  }
  const button = target.closest<HTMLElement>("[data-copy]");
  if (button) copy(button);
  for (const menu of document.querySelectorAll<HTMLDetailsElement>("details.menu[open]")) {
    if (!menu.contains(target)) menu.open = false;
  }
});

document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  for (const menu of document.querySelectorAll<HTMLDetailsElement>("details.menu[open]")) {
    menu.open = false;
    menu.querySelector("summary")?.focus();
  }
});

function dress(): void {
  nameCountries();
  draw();
  if (navigator.clipboard) {
    for (const button of document.querySelectorAll<HTMLElement>("[data-copy]")) button.hidden = false;
  }
}

dress();
keepFresh(dress);
watchLive(dress);
