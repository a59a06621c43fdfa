import { type FormEvent, useEffect, useState } from "react"
import { createBrowserRouter, createHashRouter, Link, Navigate, Outlet, redirect, useNavigate } from "react-router"
import { RouterProvider } from "react-router/dom"
import { footfall, start } from "footfall-beacon"

// Most likely, the beacon is not there yet.
footfall("early")

/** Starts the beacon again whenever it is mounted, which is to change nothing. */
function Starter() {
  useEffect(() => start({ src: "https://stats.example.com/beacon.all.js", site: "example.com" }), [])
  return null
}

function Shop() {
  const [turn, setTurn] = useState(0)
  const go = useNavigate()
  const find = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault()
    go(`/search?${new URLSearchParams({ q: String(new FormData(event.currentTarget).get("q")) })}`)
  }
  return (
    <div key={turn}>
      <Starter />
      <Link to="/">Home</Link> <Link to="/shoes">Shoes</Link> <Link to="/old">Old</Link>
      <form onSubmit={find}>
        <input name="q" /> <button>Find</button>
      </form>
      <button onClick={() => footfall("signup", { plan: "pro" })}>Sign up</button>
      <button onClick={() => go("?size=42", { replace: true })}>Size</button>
      <button onClick={() => setTurn(turn + 1)}>Mount {turn}</button>
      <button onClick={() => footfall.consent(false)}>Stop</button>
      <Outlet />
    </div>
  )
}

function Page({ title }: { title: string }) {
  return (
    <>
      <title>{title}</title>
      <h1>{title}</h1>
    </>
  )
}

const hash = location.pathname === "/hash"
// Found before the address changes, or by a page that is there already.
const old = hash
  ? { element: <><Page title="Old" /><Navigate to="/sale" replace /></> }
  : { loader: () => redirect("/sale") }
const routes = [
  {
    Component: Shop,
    children: [
      { path: "/", element: <Page title="Welcome" /> },
      { path: "/shoes", element: <Page title="All shoes" /> },
      { path: "/search", element: <Page title="Found" /> },
      { path: "/sale", element: <Page title="Our sale" /> },
      { path: "/old", ...old },
    ],
  },
]
const router = hash ? createHashRouter(routes) : createBrowserRouter(routes)

export default function App() {
  return <RouterProvider router={router} />
}
