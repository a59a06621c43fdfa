// What the package's types allow and what they do not; `tsc` says which line is otherwise.
import { type BeaconEvent, footfall, start } from "footfall-beacon"

start({ src: "https://stats.example.com/beacon.all.js" })
start({ src: "/s.js", site: "example.com", endpoint: "/e", consent: true, before: "look", integrity: "sha384-x" })
start({ src: { toString: () => "/s.js" }, nonce: "r4nd0m" })
// @ts-expect-error: no script
start({ site: "example.com" })
// @ts-expect-error: the name of a function, not the function
start({ src: "/s.js", before: (event: BeaconEvent) => event })

footfall("signup")
footfall("signup", { plan: "pro", seats: 3, trial: true, coupon: null, parts: ["a"] })
footfall("order", { items: 2 }, { revenue: { amount: "49.90", currency: "EUR" } })
footfall("find", {}, { type: "search", search: { term: "shoes", results: 0 } })
footfall("404", {}, { type: "not_found" })
footfall.consent(true)
window.footfall?.("signup", { plan: "pro" })
// @ts-expect-error: no name
footfall()
// @ts-expect-error: revenue without its currency
footfall("order", {}, { revenue: { amount: 1 } })
// @ts-expect-error: no type that a page sends
footfall("page", {}, { type: "pageview" })
// @ts-expect-error: yes or no
footfall.consent("yes")
// @ts-expect-error: it may not be there
window.footfall("signup")

/** A function for `before` as a page writes it. */
export function look(event: BeaconEvent): BeaconEvent | false | undefined {
  if (event.props?.plan === "secret") return false
  event.title = event.url.toUpperCase()
  return { ...event, ts: event.ts + 1 }
}
