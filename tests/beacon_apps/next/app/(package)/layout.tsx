import type { ReactNode } from "react"
import { footfall, start } from "footfall-beacon"
import Beacon from "../beacon"
import Shop from "../../parts/shop"

// On a server, neither does anything.
start({ src: "https://stats.example.com/beacon.all.js", site: "example.com" })
footfall("server", { page: "layout" })
footfall.consent(true)

export default function Layout({ children }: { children: ReactNode }) {
  return (
    <html lang="en">
      <body>
        <Beacon />
        <Shop base="">{children}</Shop>
      </body>
    </html>
  )
}
