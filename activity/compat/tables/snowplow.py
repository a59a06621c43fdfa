"""What becomes of each field that Snowplow's trackers send, and how they are set up."""

from __future__ import annotations

import msgspec

from activity.compat.protocol import Field


class Payload(msgspec.Struct, frozen=True):
    """One event, all of whose values are texts. What is not here is left out."""

    e: str = ""
    eid: str = ""
    aid: str = ""
    dtm: str = ""
    stm: str = ""
    ttm: str = ""
    duid: str = ""
    tnuid: str = ""
    nuid: str = ""
    uid: str = ""
    ip: str = ""
    ua: str = ""
    url: str = ""
    page: str = ""
    refr: str = ""
    lang: str = ""
    res: str = ""
    ue_px: str = ""
    ue_pr: str = ""
    cx: str = ""
    co: str = ""
    pp_mix: str = ""
    pp_max: str = ""
    pp_miy: str = ""
    pp_may: str = ""
    se_ca: str = ""
    se_ac: str = ""
    se_la: str = ""
    se_pr: str = ""
    se_va: str = ""
    tr_id: str = ""
    tr_af: str = ""
    tr_tt: str = ""
    tr_tx: str = ""
    tr_sh: str = ""
    tr_ci: str = ""
    tr_st: str = ""
    tr_co: str = ""
    tr_cu: str = ""
    ti_id: str = ""
    ti_sk: str = ""
    ti_nm: str = ""
    ti_na: str = ""
    ti_ca: str = ""
    ti_pr: str = ""
    ti_qu: str = ""
    ti_cu: str = ""


# By the key of the protocol, the property that it becomes.
PINGS = {"pp_mix": "min_x", "pp_max": "max_x", "pp_miy": "min_y", "pp_may": "max_y"}
STRUCTURED = {"se_ca": "category", "se_la": "label", "se_pr": "property"}
ORDER = {
    "tr_id": "order_id", "tr_af": "affiliation", "tr_tx": "tax", "tr_sh": "shipping", "tr_ci": "city",
    "tr_st": "state", "tr_co": "country",
}  # fmt: skip
ITEM = {
    "ti_id": "order_id", "ti_sk": "sku", "ti_na": "item", "ti_nm": "item", "ti_ca": "category", "ti_pr": "price",
    "ti_qu": "quantity", "ti_cu": "currency",
}  # fmt: skip

FIELDS = (
    Field("e=pv", "type", "`pageview`"),
    Field("e=pp", "type", "`engagement`: a page ping tells that the visitor is there, but not for how long"),
    Field("e=se", "type", "`custom`"),
    Field("e=ue", "type", "`custom` with the name in the schema; of those of Snowplow's own that follow another"),
    Field("e=ue site_search", "type", "`search` for `terms`, with blanks between them, and `totalResults`"),
    Field("e=ue link_click", "type", "`outbound` if it leads to another host, else `custom`"),
    Field("e=ue submit_form", "type", "`form` with the name `formId`"),
    Field("e=ue screen_view", "type", "`pageview` of the path `/NAME`; without one, of its `id`, if that is no UUID"),
    Field("e=ue screen_end", "type", "`engagement`, beside a `screen_summary`"),
    Field("e=ue web_vitals", "type", "`web_vital`"),
    Field("e=ue snowplow_ecommerce_action", "type", "`custom` with the name `type`"),
    Field("e=tr", "type", "`custom` with the name `transaction`"),
    Field("e=ti", "type", "`custom` with the name `transaction_item`, which makes no visit engaged"),
    Field("eid", "id"),
    Field("aid", "site", "if there is none, the host of `url`"),
    Field("ttm", "ts", "used as it is"),
    Field("dtm", "ts", "corrected by `stm`, if there is no `ttm`"),
    Field("stm", "sent_at"),
    Field("duid", "client", "`undefined`, `null` and such are none, as below"),
    Field("tnuid", "client", "if there is no `duid`"),
    Field("nuid", "client", "if there is no `duid`"),
    Field("uid", "user", "and `client`, if nothing else tells visitors apart"),
    Field("ip", "address", "counts only with a secret key"),
    Field("ua", "agent", "counts only with a secret key"),
    Field("url", "url", "of an image without one, the page that shows it; else of a page view `/PAGE`, by its title"),
    Field("page", "title"),
    Field("refr", "referrer"),
    Field("lang", "language"),
    Field("res", "screen"),
    Field("ue_px", "props", "each member of the event's data; what is nested as JSON text"),
    Field("ue_pr", "props", "the same without base64"),
    Field("cx", "props", "each entity as `context.NAME`, but for those that trackers add by themselves"),
    Field("co", "props", "the same without base64"),
    Field("cx client_session", "client", "its `userId`, if there is no `duid`; visits are our own"),
    Field("cx screen", "url", "the path `/NAME`, if there is no `url`"),
    Field("cx screen_summary", "engaged_ms", "its `foreground_sec`, of `screen_end`"),
    Field("cx transaction", "revenue", "of the e-commerce action `transaction`; also in `props`"),
    Field("cx refund", "revenue", "below zero, of the e-commerce action `refund`; also in `props`"),
    Field("cx web_page", "", "an id of the page view that nothing here asks for"),
    Field("cx browser_context", "", "the browser is known by its agent"),
    Field("cx mobile_context", "", "as above"),
    Field("cx application_context", "", "as above"),
    Field("cx application", "", "as above"),
    Field("cx application_lifecycle", "", "as above"),
    Field("cx desktop_context", "", "as above"),
    Field("cx http_client_hints", "", "as above"),
    Field("cx geolocation_context", "", "more exact than anything that is kept of a visitor"),
    Field("cx PerformanceTiming", "", "no web vital"),
    Field("cx PerformanceNavigationTiming", "", "no web vital"),
    Field("cx cookies", "", "ids of another product"),
    *(Field(key, "props", f"`{name}`") for key, name in PINGS.items()),
    *(Field(key, "props", f"`{name}`") for key, name in STRUCTURED.items()),
    Field("se_va", "props", "`value`; it is no revenue"),
    Field("se_ac", "name"),
    *(Field(key, "props", f"`{name}`") for key, name in ORDER.items()),
    Field("tr_tt", "revenue"),
    Field("tr_cu", "currency"),
    *(Field(key, "props", f"`{name}`") for key, name in ITEM.items()),
    Field("tv", "", "the tracker's version"),
    Field("tna", "", "the tracker's name in its page"),
    Field("p", "", "the platform is known by the agent"),
    Field("vid", "", "visits are counted here"),
    Field("sid", "", "visits are made here"),
    Field("vp", "", "the size of the window is not kept"),
    Field("ds", "", "the size of the page is not kept"),
    Field("cd", "", "the depth of colour is not kept"),
    Field("cs", "", "the character set of the page is not kept"),
    Field("tz", "", "the site has a time zone"),
    Field("cookie", "", "whether a browser takes cookies is not kept"),
)

NOTES = """
Point the tracker at this service; the path stays Snowplow's own.

```js
newTracker('sp', 'https://TRACKING-HOST', {appId: 'shop-app'})              // @snowplow/browser-tracker
```
```python
Snowplow.create_tracker("sp", endpoint="https://TRACKING-HOST", app_id="shop-app")   # snowplow-tracker
```

The sites file says which site an `appId` belongs to: `ids = ["shop-app"]`. Where the paths are taken already, the
endpoint is `https://TRACKING-HOST/compat/snowplow`.

A tracker on a server counts for its visitor's address, agent and old times if it sends one of the site's
`write_keys = ["…"]` in a header, `Authorization: Bearer KEY`: `customHeaders` of the browser's and Node's tracker, a
`session` with that header in Python's emitter.

What differs:

- What the query of a `POST` says (`aid`, `nuid`, …) counts for all events of its body, before what these say.
- Events are judged when they arrive. A request of which nothing can be taken is answered 400 or 403, which trackers do
  not send again; one with some good events is answered 200, and the header `x-footfall-refused` tells of the others.
- No cookie is set: a visitor without `duid` is the cookieless one. `SP-Anonymous` leaves out `duid` and `uid` as well.
- A link with a click in it (`/r/tp2?u=https://…`) leads on only to the places that the sites file has among `redirects`
  of the site: `redirects = ["https://www.example.com"]`. Any other is refused in words, since else everybody could make
  links of yours that lead anywhere. The click is a custom event `uri_redirect`, or what else the link says.
  While nothing can be stored a link leads on all the same, and its click is not counted.
- The Iglu webhook (`/com.snowplowanalytics.iglu/v1?schema=iglu:…`) takes events by GET, as JSON (one, or a list) and as
  a form; `aid` names the site. Webhooks of other services are not served.
- Schemas are not looked up, so nothing is refused for them.
- Page pings show that a visitor is still there; Snowplow's own models estimate the time from their number.
"""
