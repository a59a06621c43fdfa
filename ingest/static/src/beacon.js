/* Footfall's beacon, all of it: the build leaves out what a variant does not have.

   <script defer data-site="example.com" src="https://stats.example.com/beacon.js"></script>
   footfall('signup', {plan: 'pro'})
   footfall('order', {items: 2}, {revenue: {amount: '49.90', currency: 'EUR'}})

   beacon.js counts page views, those of routers by the History or Navigation API or by #/ addresses too, and custom
   events. Words in its name add features, as in beacon.clicks.queue.js; beacon.all.js has them all:

   clicks   links out, downloads, forms, missing pages, elements with data-footfall-event="name" data-footfall-plan="pro"
   consent  data-consent waits for footfall.consent(true); data-before="name" is a function of the page that sees events
   queue    keeps in localStorage what could not be delivered yet, and sends it again until it is taken
   time     engaged time, and how far the page was scrolled
   vitals   LCP, CLS and INP

   Attributes: data-site (the page's host unless given), data-endpoint (else `collect` beside the script).
   No cookie, and nothing is stored but by the queue. Nothing is sent for Global Privacy Control or Do Not Track, nor
   where localStorage.footfall_ignore is set.

   A body is text/plain, so no browser asks for permission first. `sent_at` is stamped for each attempt, outside the
   events, so that a retry does not move them in time. Nothing is thrown into the page. */
try {
  const doc = document
  const script = doc.currentScript || doc.querySelector('script[data-site]')
  const {site = location.hostname, endpoint = new URL('collect', script.src), consent} = script.dataset
  // A second script for the same site and endpoint ends here: `last` cannot be read in its own line, which throws.
  let last = self[endpoint + site] ? last : self[endpoint + site] = 1
  let page = ''
  let from = doc.referrer
  let before = ''
  let waiting, settling
  let agreed, held // FOOTFALL_CONSENT
  let load, drop, flush, calm // FOOTFALL_QUEUE
  let ping // FOOTFALL_TIME

  // Until the page has its answer, events wait in memory alone.
  if (FOOTFALL_CONSENT) {
    agreed = consent == null
    held = []
  }

  // In the capture phase the window hears all that happens to the page, whatever the page stops.
  const on = (hear, ...names) => {
    names.map(name => addEventListener(name, hear, 1))
  }

  const silent = () => {
    try {
      // A beacon that cannot be asked to wait for consent has none.
      return (!FOOTFALL_CONSENT && consent != null) || navigator.globalPrivacyControl || navigator.doNotTrack == 1 ||
        localStorage.footfall_ignore
    } catch (e) {}
  }

  // The time, in ms; no two events have the same, and a clock that is set back does not turn them round.
  const now = () => last = Math.max(Date.now(), last + 1)

  // All that a page keeps alive at one time may have 64 KiB; what is beyond goes as any request does. Lists are written
  // by hand: old libraries change what JSON makes of them. Whatever is wrong ends here, with no answer.
  let send = async given => {
    for (const keepalive of [1, 0]) try {
      return await fetch(endpoint, {
        body: `{"sent_at":${now()},"events":[${FOOTFALL_QUEUE ? given : JSON.stringify(given)}]}`,
        method: 'POST',
        credentials: 'omit',
        keepalive
      })
    } catch (e) {}
  }

  if (FOOTFALL_QUEUE) {
    const store = 'footfall:' + site + ':'
    let failures = 0
    let kept = {}
    let busy, timer
    const post = send

    // Everything goes in before it goes out, and leaves once the server has answered for it. Each event has an entry of
    // its own, because several pages write at one time: its key, which begins with its time, and its JSON. What the
    // browser does not store (it is full, or forbids it) is kept for as long as the page is there.
    load = () => {
      const found = {...kept}
      try {
        for (const key in localStorage) if (key.includes(store)) found[key] = localStorage[key]
      } catch (e) {}
      return Object.entries(found).sort()
    }

    drop = entries => entries.map(([key]) => {
      try {
        delete kept[key]
        delete localStorage[key]
      } catch (e) {}
    })

    // A page that may be going away does not wait for the request before; what goes out twice has one id. A request has
    // at most 20,000 characters, but for a single event. After one that failed the next has a single event,
    // another each time: one that never gets through holds no other up.
    flush = calm => {
      if ((busy && calm) || silent() || (FOOTFALL_CONSENT && !agreed)) return
      const all = load()
      let room = 2e4
      drop(all.splice(1e3))
      if (!all[0]) return
      const batch = failures
        ? [all[failures % all.length]]
        : all.filter(([, json], place) => (room -= json.length) > 0 || !place)
      clearTimeout(timer)
      busy = 1
      post(batch.map(([, json]) => json)).then(answer => {
        busy = 0
        if (answer && !/408|429|5../.test(answer.status)) {
          drop(batch)
          failures = 0
          flush()
        } else timer = setTimeout(flush, Math.min(3e5, 1e3 * 2 ** ++failures) * (0.5 + Math.random()))
      })
    }

    // An event that is no JSON throws here, and is not kept. What is kept is as it was now, whatever the page does to it.
    send = event => {
      try {
        const id = event.ts + '' + Math.random() // some pages have random numbers begin alike
        const key = store + id
        kept[key] = JSON.stringify({...event, id})
        localStorage[key] = kept[key]
        delete kept[key]
      } catch (e) {}
      flush(calm)
    }
  }

  if (FOOTFALL_CONSENT) {
    const pass = send
    send = event => {
      if (!agreed) return held && !held[199] && held.push(event)
      try {
        const made = self[script.dataset.before](event)
        if (made === false) return
        if (made.url) event = made
      } catch (e) {}
      pass(event)
    }
  }

  const out = (type, more) => silent() || send({
    site,
    referrer: from,
    url: page,
    language: navigator.language,
    screen: screen.width + 'x' + screen.height,
    title: doc.title,
    ts: now(),
    type,
    ...more
  })

  // What JSON cannot hold (a circle, a BigInt) goes as the text that it has, an object as its JSON, but for the `fields`
  // of an event: in these an object stays one.
  const plain = (given, fields) => {
    const made = {}
    for (const key in given) {
      let value
      try {
        const json = JSON.stringify(value = given[key])
        made[key] = !fields && /^[[{]/.test(json) ? json : value
      } catch (e) {
        made[key] = fields && typeof value == 'object' ? plain(value) : value + ''
      }
    }
    return made
  }

  self.footfall = (name, props, more) => {
    try {
      // A page that is only rendered ahead has not been seen yet.
      if (doc.prerendering) return on(() => footfall(name, props, more), 'prerenderingchange')
      calm = 1 // FOOTFALL_QUEUE
      out('custom', {props: plain(typeof props == 'object' ? props : {value: props}), ...plain({name, ...more}, 1)})
    } catch (e) {}
    calm = 0 // FOOTFALL_QUEUE
  }

  if (FOOTFALL_CONSENT) {
    self.footfall.consent = yes => {
      agreed = yes
      calm = 1 // FOOTFALL_QUEUE
      if (yes && held) held.map(send)
      calm = 0 // FOOTFALL_QUEUE
      held = 0
      if (FOOTFALL_QUEUE) {
        if (yes) flush(1)
        else drop(load())
      }
    }
  }

  // A router names its page only after it has changed the address; a view waits for that, but not past the page.
  const settle = () => {
    if (waiting) out('pageview', {ts: waiting})
    waiting = clearTimeout(settling) // which is nothing
  }

  // A fragment that begins with / or ! is a router's page (alone, the page itself), any other a place on the page.
  // `how` the address came: where it was replaced, another query, of the address or of the route, or a slash at its end
  // is no other page, and `before` has it.
  const view = how => {
    if (doc.prerendering) return on(view, 'prerenderingchange')
    if (how.persisted) before = page = '' // it is looked at again
    const here = location.href.replace(/#(?![/!]+[^#/!]).*/, '')
    // On the way to a place on the page, the route is not compared.
    const core = address => address
      .replace(/^#[^/!]/.test(location.hash) ? /#.*/ : '', '')
      .replace(/^r/.test(how.navigationType || how) ? /\/?(\?[^#]*)?(?![^#])/g : '', '')
    if (core(here) == core(before)) return /^r/.test(how.navigationType || how) && (before = here)
    settle()
    if (FOOTFALL_TIME) ping(1)
    if (page) {
      from = page
      waiting = now()
      settling = setTimeout(settle, 300)
    }
    before = page = here
    // A page that comes back may wait in vain for what it asked before: Firefox forgets the answer.
    if (!waiting) out('pageview')
  }

  if (FOOTFALL_TIME) {
    let depth, tall, since, engaged

    // Engaged time runs while the page is visible and has the focus; it is sent when it stops. How far down a page was
    // seen is a share of how tall it is then (px): it grows while it is read. Some routers show their next page before
    // they change the address, so what counts for the page before is what it was when something last happened to it.
    const tick = anew => {
      const time = performance.now() // a clock that is set, or a computer that sleeps, does not change it
      if (since) engaged += time - since
      since = doc.hasFocus() && !doc.hidden ? time : 0
      depth = Math.max(depth, scrollY + innerHeight)
      tall = anew == 1 && tall || doc.documentElement.scrollHeight
    }

    ping = anew => {
      tick(anew)
      if (page && engaged >= 1000) {
        out('engagement', {engaged_ms: engaged, props: {scroll: Math.round(Math.min(1, depth / tall) * 100)}})
        engaged = 0
      }
      if (anew == 1) tall = depth = engaged = 0
    }

    on(tick, 'scroll', 'focus', 'blur', 'click')
    on(ping, 'pagehide', 'visibilitychange')
    tick()
  }

  ;['pushState', 'replaceState'].map(name => {
    const original = history[name]
    history[name] = (...given) => {
      original.apply(history, given)
      view(name)
    }
  })
  // The first also tells of another fragment, the second of a page that comes back from the browser's cache.
  on(view, 'popstate', 'pageshow')
  on(settle, 'pagehide', 'visibilitychange')
  view('')

  if (FOOTFALL_QUEUE) {
    on(flush, 'online')
    flush()
  }

  // What follows is last: where a browser lacks something for it, all before is there.
  if (FOOTFALL_CLICKS) {
    on(e => {
      try {
        const path = e.composedPath()
        // Not all that an event passes is an element, and a form with a field called `matches` has that for it.
        const near = selector => path.find(each => {
          try {
            return each.matches(selector)
          } catch (e) {}
        })
        const link = near(':any-link')
        const {control} = near('label') || {}
        const form = e.type == 'submit' && path[0]
        const tagged = near((form ? 'form' : ':not(form)') + '[data-footfall-event]')
        const props = {}
        if (e.button > !!link) return // the middle button opens a link, the right one a menu
        // A click on a label comes again from what it is for, and counts then for what that lies in.
        if (tagged && (path.includes(control) || !tagged.contains(control))) {
          for (const {name, value} of tagged.attributes) {
            if (/^data-footfall-./.test(name)) props[name.slice(14)] = value
          }
          const {event, ...others} = props
          out('custom', {name: event, props: others})
        }
        if (form) return out('form', {name: form.getAttribute('name') || form.getAttribute('id')})
        // A link of a drawing has its address in `baseVal`, as it is written.
        const url = new URL(link.href.baseVal || link.href, page)
        const file = link.hasAttribute('download') ||
          /\.(7z|apk|csv|dmg|docx?|exe|gz|iso|mov|mp[34]|msi|pdf|pkg|pptx?|rar|tgz|txt|xlsx?|zip)$/i.test(url.pathname)
        if (/^http/.test(url) && (file || url.hostname != location.hostname)) {
          out(file ? 'download' : 'outbound', {props: {url: url.href}})
        }
      } catch (e) {}
    }, 'click', 'auxclick', 'submit')

    if (performance.getEntriesByType('navigation')[0].responseStatus == 404) footfall('404', {}, {type: 'not_found'})
  }

  // As Google defines them: the largest paint, the worst five seconds of shifts, and the longest wait for an answer, of
  // which one in fifty is left out. They are told once, of the page that was loaded, when it is hidden.
  if (FOOTFALL_VITALS && !doc.hidden) {
    const url = page
    const waits = {}
    let vitals = {}
    let sum, begun, shifted

    const see = entries => entries.map(e => {
      const at = e.startTime
      const turn = e.interactionId
      if (turn) waits[turn] = Math.max(waits[turn] || 0, e.duration)
      else if (e.size) vitals.LCP = at
      else if (e.value && !e.hadRecentInput) {
        if (!(at - shifted < 1e3 && at - begun < 5e3)) {
          sum = 0
          begun = at
        }
        shifted = at
        sum += e.value
        vitals.CLS = Math.max(vitals.CLS, sum)
      }
    })

    const observer = new PerformanceObserver(list => see(list.getEntries()))
    PerformanceObserver.supportedEntryTypes.map(type => {
      if (!/^(event$|la)/.test(type)) return
      observer.observe({type, buffered: 1, durationThreshold: 16})
      if (type == 'layout-shift') vitals.CLS = 0
    })

    on(() => {
      see(observer.takeRecords())
      const longest = Object.values(waits).sort((a, b) => b - a)
      if (longest[0]) vitals.INP = longest[longest.length / 50 | 0]
      Object.keys(vitals).map(name => out('web_vital', {url, name, props: {value: vitals[name]}}))
      vitals = 0 // holds nothing that comes later
    }, 'visibilitychange')
  }

  // Where it is there, it tells of each change of the address, before any router hears of it.
  navigation.addEventListener('currententrychange', view)
} catch (e) {}
