// Loads the beacon from your Footfall, which always has the version that fits it. What is told before it is there waits.
let waiting = []

export function start({ src, site, endpoint, consent, before, integrity }) {
  if (typeof document === "undefined" || document.querySelector("script[data-site]")) return
  const script = document.createElement("script")
  script.dataset.site = site ?? location.hostname
  if (endpoint) script.dataset.endpoint = endpoint
  if (consent) script.dataset.consent = ""
  if (before) script.dataset.before = before
  if (integrity) Object.assign(script, { integrity, crossOrigin: "anonymous" })
  script.onload = () => {
    const told = waiting
    waiting = null
    for (const tell of told) tell()
  }
  script.src = src
  document.head.append(script)
}

export function footfall(name, props, more) {
  later(() => window.footfall?.(name, props, more))
}

footfall.consent = (given) => later(() => window.footfall?.consent?.(given))

// A blocked script never comes: what waits is bounded.
function later(tell) {
  if (typeof window === "undefined") return
  if (!waiting || window.footfall) tell()
  else if (waiting.length < 200) waiting.push(tell)
}
