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

  if (FOOTFALL_ALL) {
    var store = 'footfall:' + site
    var kept, busy, failures, timer
    var engaged = 0
    var since = 0
  }

  function post(events, done) {
    var body = JSON.stringify({sent_at: Date.now(), events: events})
    // fetch tells what became of it; a browser too old for keepalive has at least sendBeacon.
    if (self.fetch && (!FOOTFALL_ALL || 'keepalive' in Request.prototype || !nav.sendBeacon)) {
      var sent = fetch(endpoint, {method: 'POST', body: body, keepalive: true, credentials: 'omit'})
      if (FOOTFALL_ALL) sent = sent.then(function (r) { done(r.status < 500 && r.status != 429) })
      sent.catch(function () {
        if (FOOTFALL_ALL) done(false)
      })
    } else if (nav.sendBeacon) {
      var taken = nav.sendBeacon(endpoint, body)
      if (FOOTFALL_ALL) done(taken)
    }
  }

  if (FOOTFALL_ALL) {
    // The kept queue: everything goes in before it goes out, and leaves once the server has answered for it.
    var load = function () {
      try {
        return JSON.parse(localStorage[store] || '[]')
      } catch (e) {
        return kept || []
      }
    }

    var save = function (events) {
      kept = events.slice(-200)
      try {
        localStorage[store] = JSON.stringify(kept)
      } catch (e) {}
    }

    // A page that is going away does not wait for the request before; what goes out twice has one id.
    var flush = function (leaving) {
      var batch = load().slice(0, 20)
      if ((busy && leaving !== 1) || !batch[0]) return
      busy = 1
      clearTimeout(timer)
      post(batch, function (taken) {
        busy = 0
        if (taken) {
          failures = 0
          var sent = batch.map(function (e) { return e.id })
          save(load().filter(function (e) { return sent.indexOf(e.id) < 0 }))
          flush()
        } else {
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
    if (nav.globalPrivacyControl || nav.doNotTrack == 1) return
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
    if (FOOTFALL_ALL) {
      save(load().concat(event))
      flush()
    } else post([event])
  }

  function view(onlyPath) {
    var here = location.href.split('#')[0]
    if (here == page || (onlyPath == 1 && here.split('?')[0] == page.split('?')[0])) return
    if (FOOTFALL_ALL) ping()
    if (page) from = page
    page = here
    send('pageview')
  }

  function wrap(name, onlyPath) {
    var original = history[name]
    if (original) history[name] = function () {
      var result = original.apply(this, arguments)
      view(onlyPath)
      return result
    }
  }

  self.footfall = function (name, props) {
    send('custom', {name: name, props: props})
  }

  wrap('pushState')
  wrap('replaceState', 1)
  addEventListener('popstate', view)
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
