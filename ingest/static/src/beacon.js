/* Footfall's beacon, all of it: the build leaves out what a variant does not have.

   <script defer data-site="example.com" src="https://stats.example.com/beacon.js"></script>
   footfall('signup', {plan: 'pro'})
   footfall('order', {items: 2}, {revenue: {amount: '49.90', currency: 'EUR'}})

   beacon.js counts page views, those of routers by the History API or by #/ addresses too, and custom events. Words in
   its name add features, as in beacon.clicks.queue.js; beacon.all.js has them all:

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
  let last = self[endpoint + site] ? last : 0
  self[endpoint + site] = 1
  let page = ''
  let from = doc.referrer
  let waiting, settling
  let agreed, held // FOOTFALL_CONSENT
  let load, keep, drop, flush // FOOTFALL_QUEUE
  let ping // FOOTFALL_TIME

  // Until the page has its answer, events wait in memory alone.
  if (FOOTFALL_CONSENT) {
    agreed = consent == null
    held = []
  }

  // In the capture phase the window hears all that happens to the page, whatever the page stops.
  const on = (hear, ...names) => names.forEach(name => addEventListener(name, hear, 1))

  const silent = () => {
    try {
      // A beacon that cannot be asked to wait for consent has none.
      return (!FOOTFALL_CONSENT && consent != null) || navigator.globalPrivacyControl || navigator.doNotTrack == 1 ||
        localStorage.footfall_ignore
    } catch (e) {}
  }

  // All that a page keeps alive at one time may have 64 KiB; what is beyond goes as any request does.
  const post = (events, done) => {
    const body = JSON.stringify({sent_at: Math.max(Date.now(), last), events})
    const ask = async keepalive => fetch(endpoint, {method: 'POST', body, keepalive, credentials: 'omit'})
    const sent = ask(1).catch(() => ask())
    if (FOOTFALL_QUEUE) sent.then(answer => done(!/408|429|5../.test(answer.status)), () => done())
    else sent.catch(() => {})
  }

  if (FOOTFALL_QUEUE) {
    const store = 'footfall:' + site + ':'
    const failed = {}
    let failures = 0
    let kept = []
    let busy, timer

    // Everything goes in before it goes out, and leaves once the server has answered for it. Each event has an entry of
    // its own, because several pages write at one time. What the browser does not store (it is full, or forbids it) is
    // kept for as long as the page is there.
    const tries = e => failed[e.id] || 0

    load = () => {
      const found = [...kept]
      try {
        for (const key in localStorage) if (key.startsWith(store)) found.push(JSON.parse(localStorage[key]))
      } catch (e) {}
      return found.sort((a, b) => tries(a) - tries(b) || a.ts - b.ts)
    }

    drop = events => {
      kept = kept.filter(e => !events.includes(e))
      try {
        events.forEach(e => delete localStorage[store + e.id])
      } catch (e) {}
    }

    // An event that is no JSON throws here, and is not kept. What is kept is as it was now, whatever the page does to it.
    keep = event => {
      const json = JSON.stringify(event)
      try {
        localStorage[store + event.id] = json
      } catch (e) {
        kept.push(JSON.parse(json))
      }
      drop(load().slice(200))
    }

    // A page that is going away does not wait for the request before; what goes out twice has one id. A request has
    // at most 20 events and, but for a single one, 60,000 bytes. When it fails, the next has one event, of those that
    // failed the fewest times: one that never gets through holds no other up.
    flush = leaving => {
      const batch = []
      let room = 6e4
      load().some(e => {
        room -= new Blob([JSON.stringify(e)]).size
        return batch[failures ? 0 : 19] || (batch[0] && room < 0) || !batch.push(e)
      })
      if ((busy && !leaving) || !batch[0] || doc.prerendering || silent() || (FOOTFALL_CONSENT && !agreed)) return
      busy = 1
      clearTimeout(timer)
      post(batch, taken => {
        busy = 0
        if (taken) {
          failures = 0
          drop(batch)
          flush()
        } else {
          batch.forEach(e => { failed[e.id] = tries(e) + 1 })
          timer = setTimeout(flush, Math.min(3e5, 1e3 * 2 ** ++failures) * (0.5 + Math.random()))
        }
      })
    }
  }

  const out = (event, leaving) => {
    try {
      if (silent()) return
      if (FOOTFALL_CONSENT) {
        if (!agreed) return held && !held[199] && held.push(event)
        try {
          const made = self[script.dataset.before](event)
          if (made === false) return
          if (made.url) event = made
        } catch (e) {}
      }
      if (FOOTFALL_QUEUE) {
        keep(event)
        flush(leaving)
      } else post([event])
    } catch (e) {}
  }

  const make = (type, more) => ({
    site,
    type,
    url: page || location.href,
    referrer: from,
    title: doc.title,
    id: '' + Math.random(),
    ts: last = Math.max(Date.now(), last + 1),
    screen: screen.width + 'x' + screen.height,
    language: navigator.language,
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
      if (typeof props != 'object') props = {value: props}
      out(make('custom', {...plain({name}), props: plain(props), ...plain(more, 1)}))
    } catch (e) {}
  }

  if (FOOTFALL_CONSENT) {
    self.footfall.consent = yes => {
      const was = held
      agreed = yes
      held = 0
      if (yes && was) was.forEach(event => out(event))
      if (FOOTFALL_QUEUE) {
        if (yes) flush()
        else drop(load())
      }
    }
  }

  // A router names its page only after it has changed the address; a view waits for that, but not past the page.
  const settle = leaving => {
    clearTimeout(settling)
    if (waiting) out({...waiting, title: doc.title}, leaving)
    waiting = 0
  }

  // A fragment that begins with / or ! is a router's page (alone, the page itself), any other a place on the page.
  const view = (without = '') => {
    if (doc.prerendering) return on(view, 'prerenderingchange')
    const here = location.href.replace(/#(?![/!]+[^/!#]).*/, '')
    // What is not compared: on the way to a place on the page, the route; and what else the caller says.
    const route = /^#[^/!]/.test(location.hash) ? /#.*/ : ''
    const core = address => address.replace(route, '').replace(without, '')
    if (core(here) == core(page)) return
    settle()
    if (FOOTFALL_TIME) ping(1)
    if (page) from = page
    waiting = make('pageview', {url: here})
    if (page) settling = setTimeout(settle, 300)
    else settle(1) // a page that comes back may wait in vain for what it asked before: Firefox forgets the answer
    page = here
  }

  const wrap = (name, without) => {
    const original = history[name]
    history[name] = (...given) => {
      try {
        return original.apply(history, given)
      } finally {
        view(without)
      }
    }
  }

  if (FOOTFALL_TIME) {
    let engaged = 0
    let since = 0
    let depth = 0

    // Engaged time runs while the page is visible and has the focus; it is sent when it stops.
    const tick = () => {
      const now = Date.now()
      if (since) engaged += now - since
      since = doc.hasFocus() && !doc.hidden ? now : 0
      const seen = (scrollY + innerHeight) / doc.documentElement.scrollHeight
      depth = Math.max(depth, Math.min(100, Math.round(100 * seen)))
    }

    ping = anew => {
      tick()
      if (page && engaged >= 1000) {
        out(make('engagement', {engaged_ms: engaged, props: {scroll: depth}}), 1)
        engaged = 0
      }
      if (anew == 1) engaged = depth = 0
    }

    on(tick, 'scroll', 'focus', 'blur')
    on(ping, 'pagehide', 'visibilitychange')
    tick()
  }

  wrap('pushState')
  // Another query, of the address or of the route, is no other page here.
  wrap('replaceState', /\?[^#]*/g)
  // This one also tells of another fragment.
  on(view, 'popstate')
  on(settle, 'pagehide', 'visibilitychange')
  // A page that comes back from the browser's cache is looked at again.
  on(e => e.persisted && view(page = ''), 'pageshow')
  view()

  if (FOOTFALL_QUEUE) {
    on(() => flush(), 'online')
    flush()
  }

  // What follows is last: where a browser lacks something for it, all before is there.
  if (FOOTFALL_CLICKS) {
    const files =
      /\.(7z|apk|csv|dmg|docx?|exe|gz|iso|mov|mp[34]|msi|pdf|pkg|pptx?|rar|tgz|txt|xlsx?|zip)$/i

    on(e => {
      try {
        const path = e.composedPath()
        const near = selector => path.find(each => each.matches && each.matches(selector))
        const form = e.type == 'submit' && path[0]
        const {control} = near('label') || {}
        const link = near('a,area')
        const tagged = near((form ? 'form' : ':not(form)') + '[data-footfall-event]')
        const props = {}
        // The middle button opens a link, the right one a menu; a click on a label comes again from what it is for.
        if (e.button > 1 || (control && !path.includes(control))) return
        if (tagged) {
          for (const {name, value} of tagged.attributes) {
            if (/^data-footfall-(?!event$)/.test(name)) props[name.slice(14)] = value
          }
          out(make('custom', {name: tagged.dataset.footfallEvent, props}), 1)
        }
        if (form) out(make('form', {name: form.getAttribute('name') || form.getAttribute('id')}), 1)
        else if (/^http/.test(link.protocol)) {
          const file = link.hasAttribute('download') || files.test(link.pathname)
          if (file || link.hostname != location.hostname) {
            out(make(file ? 'download' : 'outbound', {props: {url: link.href}}), 1)
          }
        }
      } catch (e) {}
    }, 'click', 'auxclick', 'submit')

    if (performance.getEntriesByType('navigation')[0].responseStatus == 404) footfall('404', {}, {type: 'not_found'})
  }

  // As Google defines them: the largest paint, the worst five seconds of shifts, and the longest wait for an answer, of
  // which one in fifty is left out. They are told once, of the page that was loaded, when it is hidden.
  if (FOOTFALL_VITALS && !doc.hidden) {
    const url = location.href
    const waits = {}
    let vitals = {}
    let sum, begun, shifted

    const see = entries => entries.forEach(e => {
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
    PerformanceObserver.supportedEntryTypes.forEach(type => {
      if (!/^(largest|layout-|event$)/.test(type)) return
      observer.observe({type, buffered: 1, durationThreshold: 16})
      if (type == 'layout-shift') vitals.CLS = 0
    })

    on(() => {
      see(observer.takeRecords())
      const longest = Object.values(waits).sort((a, b) => b - a)
      if (longest[0]) vitals.INP = longest[longest.length / 50 | 0]
      for (const name in vitals) {
        out(make('web_vital', {url, name, props: {value: vitals[name]}}), 1)
      }
      vitals = 0 // holds nothing that comes later
    }, 'visibilitychange')
  }
} catch (e) {}
