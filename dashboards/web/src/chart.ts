// One metric over time, and the same metric one range before as a dashed line under it.
import uPlot from "uplot";
import { axisValue, fullValue, stepName } from "./words";

export type Series = {
  interval: string;
  zone: string;
  times: number[]; // seconds
  now: Record<string, (number | null)[]>;
  before: Record<string, (number | null)[]>;
  labels: Record<string, string>;
};

const HEIGHT = 260;
const LOW_HEIGHT = 200; // on a phone

export class Chart {
  metric: string;
  private plot: uPlot | undefined;
  private series: Series | undefined;
  private readonly tip = document.createElement("div");
  private readonly watch: ResizeObserver;
  private readonly dark = matchMedia("(prefers-color-scheme: dark)");
  private readonly recolor = (): void => this.rebuild();

  constructor(readonly place: HTMLElement) {
    this.metric = place.dataset.metric ?? "visitors";
    this.tip.className = "tip";
    this.tip.hidden = true;
    this.watch = new ResizeObserver(() => this.plot?.setSize(this.size()));
    this.watch.observe(place);
    this.dark.addEventListener("change", this.recolor);
  }

  show(series: Series): void {
    const same =
      this.plot && this.series?.interval === series.interval && this.plot.series[1]?.label === this.metric;
    this.series = series;
    if (same) this.plot?.setData(this.data());
    else this.rebuild();
    const legend = document.querySelector(".legend");
    if (legend?.childNodes[2]) legend.childNodes[2].textContent = ` ${series.labels[this.metric] ?? ""} `;
  }

  destroy(): void {
    this.watch.disconnect();
    this.dark.removeEventListener("change", this.recolor);
    this.plot?.destroy();
  }

  private rebuild(): void {
    if (!this.series) return;
    this.plot?.destroy();
    this.plot = new uPlot(this.options(this.series), this.data(), this.place);
    this.plot.over.append(this.tip);
  }

  private data(): uPlot.AlignedData {
    const series = this.series!;
    const before = series.times.map((_, index) => series.before[this.metric]?.[index] ?? null);
    return [series.times, series.now[this.metric] ?? [], before];
  }

  private size(): { width: number; height: number } {
    const width = this.place.clientWidth;
    return { width, height: width < 560 ? LOW_HEIGHT : HEIGHT };
  }

  private options(series: Series): uPlot.Options {
    const style = getComputedStyle(document.documentElement);
    const color = (name: string): string => style.getPropertyValue(name).trim();
    const metric = this.metric;
    const font = `12px ${style.getPropertyValue("--sans")}`;
    const axis = { stroke: color("--quiet"), font, ticks: { show: false } };
    const zoned = (seconds: number): Date => uPlot.tzDate(new Date(seconds * 1000), series.zone);
    // One or two steps make no line: their points are all there is to see.
    const points = { show: series.times.length < 3, size: 7, fill: color("--accent") };
    return {
      ...this.size(),
      padding: [12, 16, 0, 0],
      legend: { show: false },
      tzDate: zoned,
      scales: { y: { range: (_, __, most) => [0, metric === "bounce_rate" ? 1 : Math.max(4, most * 1.1)] } },
      cursor: {
        y: false,
        drag: { x: false, y: false },
        points: { size: 9, width: 2, stroke: color("--surface"), fill: (_, n) => color(n === 1 ? "--accent" : "--quiet") },
      },
      axes: [
        {
          ...axis,
          grid: { show: false },
          space: 72,
          values: (_, splits) => splits.map((at) => stepName(zoned(at), series.interval)),
        },
        {
          ...axis,
          grid: { stroke: color("--line"), width: 1 },
          size: 48,
          incrs: metric === "bounce_rate" ? [0.25, 0.5, 1] : [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 1e6, 1e7],
          values: (_, splits) => splits.map((value) => axisValue(value, metric)),
        },
      ],
      series: [
        {},
        { label: metric, stroke: color("--accent"), width: 2, fill: color("--wash"), points },
        { label: "before", stroke: color("--before"), width: 1.5, dash: [4, 4], points: { show: false } },
      ],
      hooks: { setCursor: [(plot) => this.point(plot)] },
    };
  }

  private point(plot: uPlot): void {
    const { idx, left } = plot.cursor;
    const series = this.series;
    if (idx == null || left == null || left < 0 || !series) {
      this.tip.hidden = true;
      return;
    }
    const [now, before] = [plot.data[1]?.[idx], plot.data[2]?.[idx]];
    const lines: [string, string][] = [["when", fullStep(series, idx)]];
    if (now != null) lines.push(["value", `${fullValue(now, this.metric)} ${(series.labels[this.metric] ?? "").toLowerCase()}`]);
    if (before != null) lines.push(["was", `${fullValue(before, this.metric)} before`]);
    this.tip.replaceChildren(
      ...lines.map(([name, text]) => Object.assign(document.createElement("div"), { className: name, textContent: text })),
    );
    this.tip.hidden = false;
    const at = plot.valToPos(series.times[idx]!, "x");
    const flip = at > plot.over.clientWidth / 2;
    this.tip.style.left = `${at + (flip ? -12 : 12)}px`;
    this.tip.style.transform = flip ? "translateX(-100%)" : "none";
  }
}

function fullStep(series: Series, index: number): string {
  const options: Intl.DateTimeFormatOptions =
    series.interval === "hour"
      ? { weekday: "short", day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", hourCycle: "h23" }
      : series.interval === "month"
        ? { month: "long", year: "numeric" }
        : { weekday: "short", day: "numeric", month: "short", year: "numeric" };
  const text = new Intl.DateTimeFormat("en-GB", { ...options, timeZone: series.zone }).format(series.times[index]! * 1000);
  return series.interval === "week" ? `Week of ${text}` : text;
}
