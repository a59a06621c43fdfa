import { h } from "vue"
import { createRouter, createWebHashHistory, createWebHistory } from "vue-router"
import { footfall } from "footfall-beacon"

// Most likely, the beacon is not there yet.
footfall("early")

const titles = { "/": "Welcome", "/shoes": "All shoes", "/search": "Found", "/sale": "Our sale" }
const pages = Object.entries(titles).map(([path, title]) => ({ path, component: { render: () => h("h1", title) }, meta: { title } }))

const router = createRouter({
  history: location.pathname === "/hash" ? createWebHashHistory() : createWebHistory(),
  routes: [...pages, { path: "/old", redirect: "/sale" }],
})
router.afterEach((to) => {
  document.title = String(to.meta.title)
})

export default router
