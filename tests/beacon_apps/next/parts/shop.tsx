"use client"

import Link from "next/link"
import { useRouter } from "next/navigation"
import { type FormEvent, type ReactNode, useEffect, useState } from "react"
import { footfall, start } from "footfall-beacon"

// Most likely, the beacon is not there yet.
footfall("early")

/** Starts the beacon again whenever it is mounted, which is to change nothing. */
function Starter() {
  useEffect(() => start({ src: "https://stats.example.com/beacon.all.js", site: "example.com" }), [])
  return null
}

export default function Shop({ base, children }: { base: string; children: ReactNode }) {
  const [turn, setTurn] = useState(0)
  const router = useRouter()
  const find = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault()
    const words = new URLSearchParams({ q: String(new FormData(event.currentTarget).get("q")) })
    router.push(`${base}/search?${words}`)
  }
  return (
    <div key={turn}>
      {base === "" && <Starter />}
      <Link href={base || "/"}>Home</Link> <Link href={`${base}/shoes`}>Shoes</Link> <Link href={`${base}/old`}>Old</Link>
      <form onSubmit={find}>
        <input name="q" /> <button>Find</button>
      </form>
      <button onClick={() => footfall("signup", { plan: "pro" })}>Sign up</button>
      <button onClick={() => router.replace("?size=42")}>Size</button>
      <button onClick={() => setTurn(turn + 1)}>Mount {turn}</button>
      <button onClick={() => footfall.consent(false)}>Stop</button>
      {children}
    </div>
  )
}
