// One metric over time, with the same metric of the range before as a dashed line below.
import uPlot from "uplot";
import { axisValue, fullValue, isShare, language, stepName } from "./words";

export type Series = {
  interval: string;
  running: number; // index of the step that is not over yet, -1 if all are
  zone: string;
  times: number[]; // Unix seconds
  now: Record<string, (number | null)[]>;
  before: Record<string, (number | null)[]>;
  labels: Record<string, string>;
  words: Record<string, string>; // of weeks, of what is not over and of what was before, each with %s in it
  notes: [number, string][]; // annotations: the step of each, and its words
};

const HEIGHT = 260;
const LOW_HEIGHT = 200; // pixels, on a phone
const LABEL_WIDTH = 72;

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
    const drawn = document.getElementById("drawn");
    if (drawn) drawn.textContent = series.labels[this.metric] ?? "";
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
    const now = series.now[this.metric] ?? [];
    const before = series.times.map((_, index) => series.before[this.metric]?.[index] ?? null);
    const last = series.running;
    if (last < 0) return [series.times, now, before, []];
    const done = now.map((value, index) => (index < last ? value : null));
    const running = now.map((value, index) => (index === last || index === last - 1 ? value : null));
    return [series.times, done, before, running];
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
    // One or two steps make no line, so show their points.
    const points = { show: series.times.length < 3 || series.running === 0, size: 7, fill: color("--accent") };
    return {
      ...this.size(),
      padding: [12, 26, 0, 0],
      legend: { show: false },
      tzDate: zoned,
      scales: { y: { range: (_, __, most) => [0, isShare(metric) ? 1 : Math.max(4, most * 1.1)] } },
      cursor: {
        y: false,
        drag: { x: false, y: false },
        points: { size: 9, width: 2, stroke: color("--surface"), fill: (_, n) => color(n === 2 ? "--quiet" : "--accent") },
      },
      axes: [
        {
          ...axis,
          grid: { show: false },
          size: 32,
          splits: (plot) => named(series, plot.bbox.width / devicePixelRatio),
          values: (_, splits) => splits.map((at) => stepName(zoned(at), series.interval)),
        },
        {
          ...axis,
          grid: { stroke: color("--line"), width: 1 },
          size: 48,
          incrs: isShare(metric) ? [0.25, 0.5, 1] : [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 1e6, 1e7],
          values: (_, splits) => splits.map((value) => axisValue(value, metric)),
        },
      ],
      series: [
        {},
        { label: metric, stroke: color("--accent"), width: 2, fill: color("--wash"), points },
        { label: "before", stroke: color("--before"), width: 1.5, dash: [4, 4], points: { show: false } },
        { label: "running", stroke: color("--accent"), width: 2, dash: [2, 4], points },
      ],
      hooks: { setCursor: [(plot) => this.point(plot)], draw: [(plot) => this.mark(plot, color("--accent"))] },
    };
  }

  // A line at each step that is annotated, with a flag at its top.
  private mark(plot: uPlot, color: string): void {
    const { ctx, bbox } = plot;
    const size = 5 * devicePixelRatio;
    ctx.save();
    ctx.fillStyle = ctx.strokeStyle = color;
    ctx.lineWidth = devicePixelRatio;
    ctx.setLineDash([2 * devicePixelRatio, 3 * devicePixelRatio]);
    for (const step of new Set(this.series?.notes.map(([step]) => step))) {
      const time = this.series?.times[step];
      if (time === undefined) continue;
      const x = plot.valToPos(time, "x", true);
      ctx.beginPath();
      ctx.moveTo(x, bbox.top);
      ctx.lineTo(x, bbox.top + bbox.height);
      ctx.stroke();
      ctx.beginPath();
      ctx.moveTo(x - size, bbox.top);
      ctx.lineTo(x + size, bbox.top);
      ctx.lineTo(x, bbox.top + 1.4 * size);
      ctx.fill();
    }
    ctx.restore();
  }

  private point(plot: uPlot): void {
    const { idx, left } = plot.cursor;
    const series = this.series;
    if (idx == null || left == null || left < 0 || !series) {
      this.tip.hidden = true;
      return;
    }
    const [now, before] = [series.now[this.metric]?.[idx], series.before[this.metric]?.[idx]];
    const label = series.labels[this.metric] ?? "";
    const name = language === "en" ? label.toLowerCase() : label;
    const lines: [string, string][] = [["when", fullStep(series, idx)]];
    if (now != null) lines.push(["value", put(idx === series.running ? series.words["running"] : "%s", `${fullValue(now, this.metric)} ${name}`)]);
    if (before != null) lines.push(["was", put(series.words["before"], fullValue(before, this.metric))]);
    for (const [step, words] of series.notes) if (step === idx) lines.push(["note", words]);
    this.tip.replaceChildren(
      ...lines.map(([kind, text]) => Object.assign(document.createElement("div"), { className: kind, textContent: text })),
    );
    this.tip.hidden = false;
    const at = plot.valToPos(series.times[idx]!, "x");
    const flip = at > plot.over.clientWidth / 2;
    this.tip.style.left = `${at + (flip ? -12 : 12)}px`;
    this.tip.style.transform = flip ? "translateX(-100%)" : "none";
  }
}

// The steps with a label below the chart: as many as there is room for, at strides that people count in.
function named(series: Series, width: number): number[] {
  const room = Math.max(2, Math.floor(width / LABEL_WIDTH));
  const strides = series.interval === "hour" ? [1, 2, 3, 4, 6, 12, 24, 48, 168] : [1, 2, 3, 5, 7, 14, 28, 56, 112];
  const stride = strides.find((each) => series.times.length / each <= room) ?? Math.ceil(series.times.length / room);
  return series.times.filter((_, index) => index % stride === 0);
}

function put(words: string | undefined, text: string): string {
  return (words ?? "%s").replace("%s", text);
}

function fullStep(series: Series, index: number): string {
  const options: Intl.DateTimeFormatOptions =
    series.interval === "hour"
      ? { weekday: "short", day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", hourCycle: "h23" }
      : series.interval === "month"
        ? { month: "long", year: "numeric" }
        : { weekday: "short", day: "numeric", month: "short", year: "numeric" };
  const text = new Intl.DateTimeFormat(language === "en" ? "en-GB" : language, { ...options, timeZone: series.zone }).format(series.times[index]! * 1000);
  return series.interval === "week" ? put(series.words["week"], text) : text;
}
