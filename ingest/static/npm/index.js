// Loads the beacon from your Footfall, which always has the version that fits it. What is told before it is there waits.
const waiting = []

export function start({ src, site, endpoint, consent, before, integrity, nonce }) {
  if (typeof document === "undefined") return
  const script = document.createElement("script")
  script.dataset.site = site ?? location.hostname
  if (endpoint) script.dataset.endpoint = endpoint
  if (consent) script.dataset.consent = ""
  if (before) script.dataset.before = before
  if (integrity) Object.assign(script, { integrity, crossOrigin: "anonymous" })
  if (nonce) script.nonce = nonce
  try {
    script.src = src
  } catch {
    return // the page's policy wants no text as an address, and the browser has said so
  }
  // Other products say a site by `data-site`, too: it has to be this one. A tag that leaves it out counts the page's host.
  const isThere = ({ dataset, src }) =>
    (dataset.site || src === script.src) && named(dataset.site || location.hostname) === named(script.dataset.site)
  if (![...document.scripts].some(isThere)) document.head.append(script)
}

// What the service takes for one site: "https://www.Example.com:443/" is example.com.
function named(site) {
  return site.toLowerCase().match(/^\s*(?:(?:https?:)?\/\/)?(?:www\.)?([^/?#:\s]*)/)[1].replace(/\.$/, "")
}

export function footfall(name, props, more) {
  later(() => window.footfall(name, props, more))
}

footfall.consent = (given) => later(() => window.footfall.consent?.(given))

// A blocked script never comes: what waits is bounded.
function later(tell) {
  if (typeof window === "undefined" || waiting.length > 199) return
  // The page hears of each script that loads, whether `start` put it there or a tag in the page.
  if (waiting.push(tell) === 1) document.addEventListener("load", tellAll, true)
  tellAll()
}

function tellAll() {
  if (!window.footfall) return
  document.removeEventListener("load", tellAll, true)
  for (const tell of waiting.splice(0)) tell()
}
