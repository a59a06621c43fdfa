// Writes country codes as names in the page's language; the code stays as the title.
import { language } from "./words";

export function nameCountries(): void {
  const names = new Intl.DisplayNames(language, { type: "region", fallback: "code" });
  for (const place of document.querySelectorAll<HTMLElement>("[data-country]")) {
    const code = place.dataset.country ?? "";
    if (/^[A-Z]{2}$/.test(code)) place.textContent = names.of(code) ?? code;
  }
}
