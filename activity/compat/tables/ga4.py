"""What becomes of the fields that Google Analytics' clients send: its table, its notes, and what is left out."""

from __future__ import annotations

from activity.compat.protocol import Field

_READ = """
page_location page_path page_referrer page_title screen_name firebase_screen search_term engagement_time_msec language
screen_resolution timestamp_micros user_id client_id ignore_referrer
"""
_LEFT_OUT = {
    "visits are made here, from the times of the events": "session_id ga_session_id session_number ga_session_number",
    "it tells how the client is set up": "debug_mode send_to non_interaction send_page_view",
    "what an ad network matches people by": "user_data",
    "it is an ad network's": "allow_google_signals allow_ad_personalization_signals",
}
# By the name behind `utm_`, that of a parameter, and the browser's.
CAMPAIGN = {
    "source": ("campaign_source", "cs"), "medium": ("campaign_medium", "cm"), "campaign": ("campaign_name", "cn"),
    "term": ("campaign_term", "ck"), "content": ("campaign_content", "cc"),
}  # fmt: skip
NOT_KEPT = frozenset((
    *_READ.split(), *" ".join(_LEFT_OUT.values()).split(), *(name for name, _ in CAMPAIGN.values()),
))  # fmt: skip
# The browser's own names for what the Measurement Protocol spells out.
BROWSER_NAMES = {
    "dl": "page_location", "dr": "page_referrer", "dt": "page_title", "dp": "page_path", "_et": "engagement_time_msec",
    "cu": "currency", "ir": "ignore_referrer", "ul": "language", "sr": "screen_resolution",
    **{theirs: name for name, theirs in CAMPAIGN.values()},
}  # fmt: skip
_BROWSER_LEFT_OUT = {
    "visits are made here, from the times of the events": "sid sct seg _ss _nsi _fv",
    "it is the version of something": "v gtm tag_exp _v fp _ee are",
    "we read it from the agent": "uaa uab uafvl uam uamb uap uapv uaw",
    "it is about ads": "npa dma dma_cps pscdl gcu gcut frm _eu ecid auid us_privacy gdid",
    "it is when the page began to send": "tfd _tu _z",
}

FIELDS = (
    Field("measurement_id", "site"),
    Field("firebase_app_id", "site"),
    Field("api_secret", "site", "if it is a secret of the site, the sender is trusted"),
    Field("client_id", "client", "of a whole cookie, `GA1.1.…`, what is behind that; `undefined` and such are none"),
    Field("app_instance_id", "client", "without `client_id`"),
    Field("user_id", "user", "without any other id, it tells visitors apart, too"),
    Field("params.user_id", "user", "without `user_id`"),
    Field("user_properties", "props", "of an `identify` beside the events; left out without a user"),
    Field("timestamp_micros", "ts"),
    Field("event.timestamp_micros", "ts", "of the event; else that of the request"),
    Field("params.timestamp_micros", "ts", "as that of the event"),
    Field("ip_override", "address", "counts only with the site's secret; it is not kept"),
    Field("user_agent", "agent", "counts only with the site's secret"),
    Field("device.language", "language"),
    Field("params.language", "language", "without that of `device`"),
    Field("device.screen_resolution", "screen"),
    Field("params.screen_resolution", "screen", "without that of `device`"),
    Field("event.name", "name", "of a custom event; see the notes for those that are others"),
    Field("params.page_location", "url"),
    Field("params.page_path", "url", "without `page_location`, as a path of the site"),
    Field("params.screen_name", "url", "of `screen_view`, as a path of the site"),
    Field("params.firebase_screen", "url", "as `screen_name`"),
    Field("params.firebase_screen_class", "url", "as `screen_name`, and kept as a property"),
    Field("params.screen_class", "url", "as `firebase_screen_class`"),
    *(
        Field(f"params.{name}", "url", f"as its `utm_{utm}`, if it has no campaign itself")
        for utm, (name, _) in CAMPAIGN.items()
    ),
    Field("params.page_referrer", "referrer"),
    Field("params.ignore_referrer", "props", "if true, `page_referrer` is one, and no referrer"),
    Field("params.page_title", "title", "and the path of a `page_view` that has no address"),
    Field("params.search_term", "search", "of `search` and `view_search_results`; else a property"),
    Field("params.number_of_results", "search", "beside `search_term`"),
    Field("params.engagement_time_msec", "engaged_ms", "not of a sale with a `transaction_id`: it differs each time"),
    Field("params.value", "revenue", "of `purchase`, `in_app_purchase` and, less than zero, `refund`; else a property"),
    Field("params.currency", "revenue", "beside `value`"),
    Field("params.transaction_id", "id", "of a sale, which so counts once if it is sent again; it is a property, too"),
    Field("params.link_url", "props", "of a link out or a download, as `url`"),
    Field("params.items", "props", "as JSON text"),
    Field("params.ip_override", "", "an address is never kept; that of a visitor is `ip_override` of the request"),
    Field("params.ANY", "props", "of more than 30 the rest is named in `props_left_out`"),
    Field("consent", "", "it is about ads"),
    Field("user_location", "", "we read the place from the address"),
    Field("user_data", "", "what an ad network matches people by"),
    *(
        Field(f"device.{name}", "", "browser and system are read from the visitor's agent")
        for name in ("category", "operating_system", "operating_system_version", "model", "brand", "browser",
                     "browser_version")
    ),
    Field("validation_behavior", "", "it is for Google's validation"),
    Field("non_personalized_ads", "", "it is about ads"),
    Field("tid", "site", "of the browser, as all below"),
    Field("cid", "client", "as `client_id`; only with the visitor's consent to it (`gcs`)"),
    Field("gcs", "client", "if it denies storage, the visitor is told from others without an id"),
    Field("gcd", "client", "as `gcs`, where there is none"),
    Field("uid", "user"),
    Field("up.NAME", "props", "as `user_properties`; `upn.NAME` is a number"),
    Field("_uip", "address", "as `ip_override`"),
    Field("en", "name", "as `name`; in the query, that of lines of the body without one"),
    Field("_p", "id", "with `cid`, `_s` and the line: an event that comes again is no second one"),
    Field("_s", "id", "beside `_p`"),
    Field("dl", "url", "of an image of a `page_view` without one, the page that shows it"),
    Field("dp", "url", "without `dl`, as a path of the site"),
    *(Field(theirs, "url", f"as `params.{name}`") for name, theirs in CAMPAIGN.values()),
    Field("dr", "referrer"),
    Field("ir", "props", "as `params.ignore_referrer`"),
    Field("dt", "title"),
    Field("ul", "language"),
    Field("sr", "screen"),
    Field("_et", "engaged_ms"),
    Field("cu", "revenue", "beside `epn.value` of a sale; of others without a value it is left out"),
    Field("pr1", "props", "an item, as the browser writes it; so are `pr2`, …"),
    Field("ep.NAME", "props", "as `params.NAME`; `epn.NAME` is a number"),
    Field("uip", "", "an address is never kept; that of a visitor is `_uip`"),
    *(Field(f"params.{name}", "", reason) for reason, names in _LEFT_OUT.items() for name in names.split()),
    *(Field(name, "", reason) for reason, names in _BROWSER_LEFT_OUT.items() for name in names.split()),
    Field("consent, user_location, validation_behavior", "", "it is about ads, or we read it from the address"),
)
NOTES = """
Servers and apps: send to `https://stats.example.com/mp/collect` instead of `https://www.google-analytics.com/mp/collect`.
Browser: `gtag("config", "G-…", {server_container_url: "https://stats.example.com"})`. In the sites file:
`ids = ["G-…"]`; a server that gives its visitors' addresses and agents, or old times, has its `api_secret` in
`write_keys`.

- `page_view` and `screen_view` are page views, `user_engagement` is engagement, `search` and `view_search_results` are
  searches, `click` with `outbound` is a link out, `file_download` a download, `form_submit` a form, `page_not_found` a
  missing page; `LCP`, `INP`, `CLS`, … with `metric_value` are web vitals. All else is a custom event; what Google's
  client records by itself (`scroll`, `first_visit`, …) makes no visit engaged.
- `campaign_details` tells where the visit came from, by its `source`, `medium`, `campaign`, `term` and `content`.
- `view_search_results` of a page whose address has the same term is kept as a custom event: the page view counts as the
  search already.
- The answer is 204 whatever became of the events, as Google's is. What was refused stands in the header
  `x-footfall-refused`, on `/ops` and among the dead letters; `/debug/mp/collect` says it, and stores nothing.
- An event of a server without `timestamp_micros` has nothing to be known by again: sent twice, it counts twice.
- The engaged time that a page view brings was spent on the page before: Google's client sends it so. That of the visit
  is right.
- Apps send by their servers: what Firebase's own library sends is no JSON, and is not read here.
- More than 25 events in a request are taken, too.
"""
