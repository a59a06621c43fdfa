/* Footfall's beacon. Two files are built of it: beacon.js with FOOTFALL_ALL=false (page views, the History
   API, custom events) and beacon.all.js with true (also engaged time, and a queue that outlives the page and
   is sent again until it is taken). No cookie, nothing stored by the first; the second keeps in localStorage
   only what could not be delivered yet.

   <script defer data-site="example.com" src="https://stats.example.com/beacon.js"></script>
   footfall('signup', {plan: 'pro'})

   A body is text/plain, so no browser asks for permission first. `sent_at` is stamped for each attempt,
   outside the events, so that a retry does not move them in time. */
(function () {
  var doc = document
  var nav = navigator
  var script = doc.currentScript
  var site = script.getAttribute('data-site') || location.hostname
  var endpoint = new URL('collect', script.src).href
  var page = ''
  var from = doc.referrer
  var waiting, settling

  if (FOOTFALL_ALL) {
    var store = 'footfall:' + site
    var kept, busy, failures, timer
    var failed = {}
    var engaged = 0
    var since = 0
  }

  function post(events, done) {
    var body = JSON.stringify({sent_at: Date.now(), events: events})
    var ask = function (keepalive) {
      return fetch(endpoint, {method: 'POST', body: body, keepalive: keepalive, credentials: 'omit'})
    }
    // fetch tells what became of it; a browser too old for keepalive has at least sendBeacon.
    if (FOOTFALL_ALL && !('keepalive' in Request.prototype) && nav.sendBeacon && nav.sendBeacon(endpoint, body)) {
      done(true)
      return
    }
    // All that a page keeps alive at one time may have 64 KiB; what is beyond goes as any request does.
    var sent = ask(true).catch(function () { return ask(false) })
    if (FOOTFALL_ALL) sent = sent.then(function (r) { done(r.status < 500 && r.status != 429) })
    sent.catch(function () {
      if (FOOTFALL_ALL) done(false)
    })
  }

  if (FOOTFALL_ALL) {
    // The kept queue: everything goes in before it goes out, and leaves once the server has answered for it. What
    // the browser does not store (it is full, or forbids it) is kept for as long as the page is there.
    var load = function () {
      try {
        return kept || JSON.parse(localStorage[store] || '[]')
      } catch (e) {
        return []
      }
    }

    var save = function (events) {
      kept = events.slice(-200)
      try {
        localStorage[store] = JSON.stringify(kept)
        kept = 0
      } catch (e) {}
    }

    // A page that is going away does not wait for the request before; what goes out twice has one id. A request
    // has at most 20 events and, but for a single one, 60,000 bytes. When it fails, the next has one event, of those that
    // failed the fewest times: one that never gets through holds no other up.
    var flush = function (leaving) {
      var batch = []
      var room = 6e4
      load().sort(function (a, b) {
        return (failed[a.id] || 0) - (failed[b.id] || 0)
      }).some(function (e) {
        room -= new Blob([JSON.stringify(e)]).size
        return batch[failures ? 0 : 19] || (batch[0] && room < 0) || !batch.push(e)
      })
      if ((busy && leaving !== 1) || !batch[0]) return
      busy = 1
      clearTimeout(timer)
      post(batch, function (taken) {
        busy = 0
        var sent = batch.map(function (e) { return e.id })
        if (taken) {
          failures = 0
          save(load().filter(function (e) { return sent.indexOf(e.id) < 0 }))
          flush()
        } else {
          sent.forEach(function (id) { failed[id] = (failed[id] || 0) + 1 })
          failures = (failures || 0) + 1
          timer = setTimeout(flush, Math.min(3e5, 1e3 * Math.pow(2, failures)) * (0.5 + Math.random()))
        }
      })
    }

    // Engaged time runs while the page is visible and has the focus; it is sent when it stops.
    var tick = function () {
      var now = Date.now()
      if (since) engaged += now - since
      since = doc.visibilityState == 'visible' && doc.hasFocus() ? now : 0
    }

    var ping = function () {
      tick()
      if (page && engaged >= 1000) {
        send('engagement', {engaged_ms: engaged})
        engaged = 0
        flush(1)
      }
    }
  }

  function send(type, more) {
    out(make(type, more))
  }

  function make(type, more) {
    var event = {
      site: site,
      type: type,
      url: page || location.href,
      referrer: from,
      title: doc.title,
      id: crypto.getRandomValues(new Uint32Array(4)).join('-'),
      ts: Date.now(),
      screen: screen.width + 'x' + screen.height,
      language: nav.language
    }
    for (var key in more) event[key] = more[key]
    return event
  }

  function out(event, leaving) {
    if (nav.globalPrivacyControl || nav.doNotTrack == 1) return
    if (FOOTFALL_ALL) {
      save(load().concat(event))
      flush(leaving)
    } else post([event])
  }

  // A router names its page only after it has changed the address; a view waits for that, but not past the page.
  function settle(leaving) {
    clearTimeout(settling)
    var event = waiting
    waiting = 0
    if (!event) return
    event.title = doc.title
    out(event, leaving)
  }

  function leave() {
    settle(1)
  }

  function view(onlyPath) {
    var here = location.href.split('#')[0]
    if (here == page || (onlyPath == 1 && here.split('?')[0] == page.split('?')[0])) return
    settle()
    if (FOOTFALL_ALL) ping()
    if (page) from = page
    waiting = make('pageview', {url: here})
    if (page) settling = setTimeout(settle, 300)
    else settle()
    page = here
  }

  function wrap(name, onlyPath) {
    var original = history[name]
    if (original) history[name] = function () {
      var result = original.apply(this, arguments)
      view(onlyPath)
      return result
    }
  }

  // What JSON cannot hold (a circle, a BigInt) goes as the text that it has; nothing is thrown into the page.
  function plain(given, key) {
    try {
      var value = given[key]
      var json = JSON.stringify(value)
      return /^[[{]/.test(json) ? json : value
    } catch (e) {
      return String(value)
    }
  }

  self.footfall = function (name, props) {
    try {
      var given = {}
      if (Object(props) !== props) props = props == null ? {} : {value: props}
      Object.keys(props).forEach(function (key) { given[key] = plain(props, key) })
      send('custom', {name: plain([name], 0), props: given})
    } catch (e) {}
  }

  wrap('pushState')
  wrap('replaceState', 1)
  addEventListener('popstate', view)
  addEventListener('pagehide', leave)
  doc.addEventListener('visibilitychange', leave)
  // A page that comes back from the browser's cache is looked at again.
  addEventListener('pageshow', function (e) {
    if (e.persisted) {
      page = ''
      view()
    }
  })

  if (FOOTFALL_ALL) {
    addEventListener('focus', tick)
    addEventListener('blur', tick)
    addEventListener('pagehide', ping)
    addEventListener('online', flush)
    doc.addEventListener('visibilitychange', function () {
      if (doc.visibilityState == 'hidden') ping()
      else tick()
    })
    tick()
    flush()
  }

  // A page that is only rendered ahead has not been seen yet.
  if (doc.prerendering) doc.addEventListener('prerenderingchange', view, {once: true})
  else view()
})()
