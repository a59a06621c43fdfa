export type Prop = string | number | boolean | null

/** Further fields of an event. */
export interface More {
  /** What kind of event it is; `custom` unless given. */
  type?: "custom" | "search" | "outbound" | "download" | "form" | "not_found"
  revenue?: { amount: number | string; /** ISO 4217 */ currency: string }
  search?: { term: string; results?: number }
}

/** An event before it goes, as `before` sees it. */
export interface BeaconEvent extends Omit<More, "type"> {
  site: string
  type: string
  url: string
  referrer: string
  title: string
  id: string
  /** Unix milliseconds */
  ts: number
  screen: string
  language: string
  name?: string
  props?: Record<string, Prop>
  engaged_ms?: number
}

export interface Footfall {
  (name: string, props?: Record<string, unknown> | Prop, more?: More): void
  /** Only of a script with `consent` in its name: true sends what waited, false forgets it. */
  consent(given: boolean): void
}

export interface Options {
  /**
   * Address of the script: "https://stats.example.com/beacon.all.js". Where the page's policy has
   * `require-trusted-types-for 'script'`, what a policy of yours makes of it: `createScriptURL(…)`.
   */
  src: string | { toString(): string }
  /** The page's host unless given. */
  site?: string
  /** Where events go; `collect` beside the script unless given. */
  endpoint?: string
  /** Wait for `footfall.consent(true)`. */
  consent?: boolean
  /** Name of a function of `window` that takes a `BeaconEvent`; it returns another, nothing, or `false` to drop it. */
  before?: string
  integrity?: string
  /** Of the page's Content Security Policy, if it lists scripts by a nonce. */
  nonce?: string
}

/** Puts the beacon into the page, once, however often it is called. Does nothing on a server. */
export function start(options: Options): void
export const footfall: Footfall

declare global {
  interface Window {
    /** There once the beacon is loaded. */
    footfall?: Footfall
  }
}
