// Writes numbers and times as dashboards/formats.py does, in the page's language.

export const language = document.documentElement.lang || "en";
const whole = new Intl.NumberFormat(language, { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat(language, { notation: "compact", maximumFractionDigits: 1 });
const tenths = new Intl.NumberFormat(language, { minimumFractionDigits: 1, maximumFractionDigits: 1, useGrouping: false });
const percents = new Intl.NumberFormat(language, { style: "percent", maximumFractionDigits: 0 });

export function isShare(metric: string): boolean {
  return metric === "bounce_rate" || metric === "engagement_rate";
}

function isTime(metric: string): boolean {
  return metric === "visit_duration" || metric === "engaged_time";
}

export function fullValue(value: number, metric: string): string {
  if (isShare(metric)) return percents.format(Math.round(value * 100) / 100);
  if (metric === "views_per_visit") return tenths.format(value);
  if (isTime(metric)) return duration(value);
  return whole.format(value);
}

export function axisValue(value: number, metric: string): string {
  if (isShare(metric)) return percents.format(Math.round(value * 100) / 100);
  if (isTime(metric)) return duration(value);
  return short.format(value);
}

function duration(seconds: number): string {
  const all = Math.round(seconds);
  const two = (n: number): string => String(n).padStart(2, "0");
  if (all < 60) return `${all}s`;
  if (all < 3600) return `${Math.floor(all / 60)}m ${two(all % 60)}s`;
  return `${Math.floor(all / 3600)}h ${two(Math.floor((all % 3600) / 60))}m`;
}

const months = new Intl.DateTimeFormat(language, { month: "short" });
const days = new Intl.DateTimeFormat(language, { day: "numeric", month: "short" });

// The local fields of `zoned` show the site's clock.
export function stepName(zoned: Date, interval: string): string {
  const day = language === "en" ? `${zoned.getDate()} ${months.format(zoned)}` : days.format(zoned);
  if (interval === "month") return `${months.format(zoned)} ${zoned.getFullYear()}`;
  if (interval !== "hour") return day;
  const two = (n: number): string => String(n).padStart(2, "0");
  return zoned.getHours() === 0 && zoned.getMinutes() === 0 ? day : `${two(zoned.getHours())}:${two(zoned.getMinutes())}`;
}
