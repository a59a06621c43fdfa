"""What becomes of each parameter that Matomo's clients send, and how they are set up."""

from __future__ import annotations

from activity.compat.protocol import Field

# By the parameter, the property that it becomes.
EVENT = {"e_c": "category", "e_n": "label"}
ORDER = {"ec_id": "order_id", "ec_st": "subtotal", "ec_tx": "tax", "ec_sh": "shipping", "ec_dt": "discount"}
_ONCE = {"ec_id": "; an order that is told twice is one"}
PRODUCT = {"_pks": "sku", "_pkn": "product", "_pkc": "category", "_pkp": "price"}
CONTENT = {"c_n": "content", "c_p": "piece", "c_t": "target", "c_i": "interaction"}

FIELDS = (
    Field("rec", "", "what is sent without `rec=1` is refused"),
    Field("idsite", "site"),
    Field("url", "url", "else the address of the page that sent it; of an app's view without one `/ACTION_NAME`"),
    Field("action_name", "title", "one that begins with `404/URL` makes the page view a `not_found`"),
    Field("urlref", "referrer"),
    Field("cid", "client"),
    Field("_id", "client", "if there is no `cid`"),
    Field("uid", "user", "and `client`, if there is neither `cid` nor `_id`"),
    Field("rand", "id", "with the visitor, page view and time; alone it is no id"),
    Field("r", "id", "as `rand`"),
    Field("pv_id", "id", "a part of it, beside `rand`"),
    Field("h", "id", "a part of it; the site has a time zone"),
    Field("m", "id", "as `h`"),
    Field("s", "id", "as `h`"),
    Field("cdt", "ts"),
    Field("cdo", "ts", "how long a request has waited; it counts without `cdt`, too"),
    Field("cip", "address", "counts only with a secret `token_auth`"),
    Field("uip", "", "an address is never kept; that of a visitor is `cip`"),
    Field("ua", "agent", "counts only with a secret `token_auth`"),
    Field("lang", "language"),
    Field("res", "screen"),
    Field("search", "search"),
    Field("search_count", "results", "that of a page view stands in its `url`, as Matomo looks for it"),
    Field("search_cat", "props", "`category`"),
    Field("e_a", "name", "of a custom event"),
    *(Field(key, "props", f"`{name}` of a custom event") for key, name in EVENT.items()),
    Field("e_v", "props", "`value` of a custom event; it is no revenue"),
    Field("link", "props", "`url` of an `outbound`"),
    Field("download", "props", "`url` of a `download`"),
    Field("ping", "type", "`engagement`, which tells that the visitor is there, but not for how long"),
    Field("idgoal", "type", "`custom` with the name `goal N`; of 0 `order`, or without `ec_id` `cart`"),
    Field("revenue", "revenue", "of a goal or an order, without currency; of a cart the property `value`"),
    *(Field(key, "props", f"`{name}` of an order or a cart{_ONCE.get(key, '')}") for key, name in ORDER.items()),
    Field("ec_items", "props", "`items`, as JSON text"),
    *(Field(key, "props", f"`{name}`") for key, name in PRODUCT.items()),
    Field("c_n", "type", "`custom`: `content_impression`, or `content_interaction` with `c_i`; its property `content`"),
    *(Field(key, "props", f"`{name}` beside `c_n`") for key, name in CONTENT.items() if key != "c_n"),
    Field("dimension1", "props", "each `dimensionN` under its own name"),
    Field("cvar", "props", "each custom variable under its own name"),
    Field("_cvar", "props", "the same"),
    Field("ca", "type", "`custom` with the name `custom_action` and all parameters of the plug-in as properties"),
    *(
        Field(name, "type", "`custom` as with `ca`, where there is no `action_name`")
        for name in ("ma_id", "fa_vid", "fa_pv", "hsr_vid", "cra")
    ),
    Field("token_auth", "", "the site's secret key; it is not stored"),
    Field("send_image", "", "decides on the answer"),
    Field("apiv", "", "there is one version"),
    Field("_idn", "", "whether a visitor is new is counted here"),
    Field("_idts", "", "as above"),
    Field("_idvc", "", "as above"),
    Field("_viewts", "", "as above"),
    Field("new_visit", "", "visits are made here"),
    Field("_ref", "", "the referrer of a visit is that of its first page view"),
    Field("_refts", "", "when the visitor came by what is repeated"),
    Field("_rcn", "url", "as its `utm_campaign`, without `_refts`, as apps send it; pages repeat an earlier visit's"),
    Field("_rck", "url", "as its `utm_term`, beside `_rcn`"),
    Field("_ects", "", "the time of the last order is not kept"),
    Field("bots", "", "bots are stored and known as such"),
    Field("recMode", "", "as above"),
    Field("http_status", "", "what a server answered is in its log"),
    Field("bw_bytes", "", "as above"),
    Field("source", "", "as above"),
    Field("dp", "", "not about the visitor"),
    Field("cs", "", "the address is UTF-8"),
    Field("gt_ms", "", "no web vital"),
    *(Field(f"pf_{part}", "", "no web vital") for part in ("net", "srv", "tfr", "dm1", "dm2", "onl")),
    Field("uadata", "", "the browser is known by its agent"),
    Field("cookie", "", "what the browser can do is not kept"),
    *(
        Field(part, "", "what the browser can do is not kept")
        for part in ("fla", "java", "dir", "qt", "realp", "pdf", "wma", "gears", "ag")
    ),
    Field("country", "", "the place is known by the address"),
    Field("region", "", "as above"),
    Field("city", "", "as above"),
    Field("lat", "", "more exact than anything that is kept of a visitor"),
    Field("long", "", "more exact than anything that is kept of a visitor"),
    Field("queuedtracking", "", "an event is durable before it is answered"),
    Field("debug", "", "the answer tells what was wrong"),
)

OWN = frozenset(field.theirs for field in FIELDS)  # parameters that mean something here

NOTES = """
Point the tracker at this service; the path stays Matomo's own.

```js
var u = "https://TRACKING-HOST/";
_paq.push(["setTrackerUrl", u + "matomo.php"]);                   // the snippet of a page
_paq.push(["setSiteId", "7"]);
```
```js
new MatomoTracker(7, "https://TRACKING-HOST/matomo.php")          // matomo-tracker of npm
```

`matomo.js` itself is not served here: load it from where it is, or keep a copy beside the page. The sites file says
which site a number belongs to: `ids = ["7"]`. Where the path is taken already, it is `/compat/matomo/matomo.php`.

`token_auth` is one of the site's `write_keys = ["…"]`, as is the key of `Authorization: Bearer KEY`. Only with it do
`cip`, `ua` and a `cdt` of more than three days ago count; without it `cip` is left out, where Matomo refuses the
request. One request with many in it has one token.

What differs:

- A request of which nothing can be taken is answered 400 and in words. Of many, the good ones are taken, and
  `invalid_indices` names the others.
- A request sent again is known by its random number (`rand` or `r`), if it also names the visitor, the page view or a
  time; one without it by `cdt`, to the second; an order by its number. A client that sends none of them counts twice
  when it sends twice.
- A `ping` shows that a visitor is still there; it tells no time.
- The currency is the site's in Matomo, and sent nowhere: amounts have none.
- Campaigns are those that this product reads from addresses (`utm_…`).
"""
