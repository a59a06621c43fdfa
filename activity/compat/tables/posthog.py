"""What becomes of the fields that PostHog's clients send: its table, its notes, and what is left out."""

from __future__ import annotations

from activity.compat.protocol import Field

# What is answered to clients that ask for what is not here.
OFF = {
    "featureFlags": {},
    "featureFlagPayloads": {},
    "flags": {},
    "errorsWhileComputingFlags": False,
    "hasFeatureFlags": False,
    "config": {"enable_collect_everything": True},
    "supportedCompression": ["gzip", "gzip-js"],
    "sessionRecording": False,
    "heatmaps": False,
    "captureDeadClicks": False,
    "capturePerformance": False,
    "autocaptureExceptions": False,
    "autocapture_opt_out": False,
    "defaultIdentifiedOnly": True,
    "isAuthenticated": False,
    "toolbarParams": {},
    "siteApps": [],
}
_NO_FLAGS: dict[str, object] = {"flags": [], "group_type_mapping": {}, "cohorts": {}}
HARMLESS: dict[str, object] = {
    "/flags/definitions": _NO_FLAGS,
    "/api/feature_flag/local_evaluation": _NO_FLAGS,
    "/flags": OFF,
    "/decide": OFF,
    "/s": {"status": 1},
    "/report": {"status": 1},
    "/i/v1/logs": {},
    "/i/v1/metrics": {},
    "/i/v1/traces": {},
    "/api/surveys": {"surveys": []},
    "/api/product_tours": {"product_tours": []},
    "/api/web_experiments": {"experiments": []},
    "/api/early_access_features": {"earlyAccessFeatures": []},
}
_READ = """
$current_url $host $pathname $referrer $screen_name title $raw_user_agent $user_agent $useragent $ip $browser_language
$locale $screen_width $screen_height $prev_pageview_duration
$device_id $user_id $is_identified $anon_distinct_id distinct_id token $insert_id $time
$set $set_once $cookieless_mode $ignore_sent_at $process_person_profile
"""
_LEFT_OUT = {
    "we read it from the referrer": "$referring_domain $search_engine ph_keyword",
    "we read it from the agent": """$browser $browser_version $browser_type $os $os_name $os_version $os_distro $device
        $device_type""",
    "we have no place for it": """$browser_language_prefix $viewport_width $viewport_height $timezone $timezone_offset
        $device_manufacturer $device_model""",
    "it tells how the client is set up": """$lib $lib_version $lib_custom_api_host $lib_rate_limit_remaining_tokens
        $is_server $geoip_disable $sdk_dist_channel $configured_session_timeout_ms $config_defaults $recording_status
        $had_persisted_distinct_id $active_feature_flags $feature_flag_payloads
        $enabled_feature_flags $autocapture_disabled_server_side $initialization_time $python_runtime $python_version
        $event_time_override_provided
        $event_time_override_system_time""",
    "visits are made here, from the times of the events": "$session_id $window_id",
    "it is told again by the event of the page before": """$pageview_id $prev_pageview_id $prev_pageview_pathname
        $prev_pageview_last_scroll $prev_pageview_last_scroll_percentage
        $prev_pageview_max_scroll $prev_pageview_max_scroll_percentage $prev_pageview_last_content
        $prev_pageview_last_content_percentage $prev_pageview_max_content $prev_pageview_max_content_percentage""",
    "an address is never kept": "$client_ip $ip_address $remote_addr",
    "it draws the page, which nothing here does": "$heatmap_data $elements $elements_chain $ce_version",
}
NOT_KEPT = frozenset((*_READ.split(), *" ".join(_LEFT_OUT.values()).split()))
STATE = (
    "$geoip_", "$sdk_debug_", "$session_entry_", "$session_recording_", "$replay_", "$initial_", "$debug_", "$feature/",
)  # fmt: skip
SERVER_SIDE = "_enabled_server_side"
# fmt: off
CAMPAIGN = frozenset((
    "utm_source", "utm_medium", "utm_campaign", "utm_content", "utm_term", "gad_source", "mc_cid", "gclid", "gclsrc",
    "dclid", "gbraid", "wbraid", "fbclid", "msclkid", "twclid", "li_fat_id", "igshid", "ttclid", "rdt_cid", "epik",
    "qclid", "sccid", "oppref", "bfcid", "irclid", "_kx",
))
# fmt: on

FIELDS = (
    Field("event", "name", "of a custom event; see the notes for those that are others"),
    Field("api_key", "site", "or the site's secret, which is trusted"),
    Field("token", "site", "as `api_key`"),
    Field("properties.token", "site", "as `api_key`"),
    Field("distinct_id", "client", "where there is no `$device_id`; `anonymous`, `null` and such are no user"),
    Field("properties.distinct_id", "client", "as `distinct_id`"),
    Field("properties.$device_id", "client", "it stays the same when the visitor logs in"),
    Field("properties.$anon_distinct_id", "client", "of `$identify` without a `$device_id`"),
    Field("properties.$cookieless_mode", "client", "if true, the visitor is told from others without an id"),
    Field("properties.$user_id", "user", "else `distinct_id` if `$is_identified`, or if it is no UUID on a server"),
    Field("properties.$is_identified", "user", "if true, `distinct_id` is a user"),
    Field("properties.$process_person_profile", "user", "if false, `distinct_id` is no user"),
    Field("properties.alias", "user", "of `$create_alias`; of an id that a client made and a name, the name"),
    Field("uuid", "id", "what is sent again under it is no second event"),
    Field("properties.$insert_id", "id", "without `uuid`"),
    Field("messageId", "id", "of older libraries on servers, without `uuid`"),
    Field("timestamp", "ts"),
    Field("offset", "ts", "milliseconds before it was sent, or before it came, without `timestamp`"),
    Field("properties.$time", "ts", "Unix seconds, without `timestamp`"),
    Field("sent_at", "sent_at", "it corrects the client's clock"),
    Field("properties.$ignore_sent_at", "sent_at", "if true, `sent_at` is left out"),
    Field("properties.$current_url", "url"),
    Field("properties.$pathname", "url", "without `$current_url`, as a path of the site or of `$host`"),
    Field("properties.$host", "url", "without `$current_url`, before `$pathname`"),
    Field("properties.$screen_name", "url", "as a path of the site; first of `$screen`, last of all others"),
    Field("properties.$referrer", "referrer", "`$direct` is none"),
    Field("properties.title", "title"),
    Field("properties.$raw_user_agent", "agent", "counts only with the site's secret"),
    Field("properties.$user_agent", "agent", "as `$raw_user_agent`"),
    Field("properties.$useragent", "agent", "as `$raw_user_agent`"),
    Field("properties.$ip", "address", "counts only with the site's secret; it is not kept"),
    Field("properties.$screen_width", "screen", "with `$screen_height`"),
    Field("properties.$screen_height", "screen", "with `$screen_width`"),
    Field("properties.$browser_language", "language"),
    Field("properties.$locale", "language", "of apps"),
    Field("properties.$prev_pageview_duration", "engaged_ms", "of `$pageleave`: seconds that it was open, seen or not"),
    Field("properties.$external_click_url", "props", "of `$autocapture`, which becomes `outbound`, as `url`"),
    Field("properties.$web_vitals_LCP_value", "props", "of `$web_vitals`, as `LCP`; so are the other measures"),
    Field("properties.revenue", "revenue", "of a custom event, if it is a number"),
    Field("properties.$revenue", "revenue", "as `revenue`"),
    Field("properties.currency", "revenue", "beside `revenue`"),
    Field("properties.query", "search", "of a custom event named `search`; so are `term` and `q`"),
    Field("$set", "props", "of `$identify` and `$set`; of other events it is left out"),
    Field("properties.$set", "props", "as `$set`"),
    Field("$set_once", "props", "as `$set`; `$set` goes first"),
    Field("properties.$set_once", "props", "as `$set_once`"),
    Field("properties.$groups", "props", "as JSON text"),
    Field("options.cookieless_mode", "client", "as `$cookieless_mode`; a newer client has `options`"),
    Field("options.process_person_profile", "user", "as `$process_person_profile`"),
    Field("options.disable_skew_correction", "sent_at", "as `$ignore_sent_at`"),
    Field("options.product_tour_id", "", "tours are not served here"),
    Field("session_id", "", "visits are made here, from the times of the events"),
    Field("window_id", "", "visits are made here, from the times of the events"),
    Field("created_at", "", "it is when the batch was made, not when it was sent"),
    Field("historical_migration", "", "old times count with the site's secret"),
    Field("properties.ANY", "props", "of more than 30 the rest is named in `props_left_out`"),
    Field("properties.utm_source", "", "of the browser, as is all of a campaign: the address of the first page has it"),
    Field("properties.$feature/NAME", "", "flags are not served here"),
    Field("properties.$sdk_debug_NAME", "", "it is the state of the client"),
    Field("properties.$initial_NAME", "", "it tells of the first visit, which is here already"),
    Field("properties.$session_entry_NAME", "", "visits are made here"),
    Field("properties.$session_recording_NAME", "", "nothing is recorded here"),
    Field("properties.$replay_NAME", "", "nothing is recorded here"),
    Field("properties.$geoip_NAME", "", "we read the place from the address, which is never kept"),
    Field("properties.ip", "", "an address is never kept, under whatever name"),
    Field("properties.$debug_NAME", "", "it is the state of the client"),
    Field("properties.$NAME_enabled_server_side", "", "it is the state of the client"),
    *(Field(f"properties.{name}", "", reason) for reason, names in _LEFT_OUT.items() for name in names.split()),
)
NOTES = """
Python: `Posthog("phc_…", host="https://stats.example.com")`. Browser, with `posthog-js` from npm or a copy of it:
`posthog.init("phc_…", {api_host: "https://stats.example.com"})`. In the sites file, `ids = ["phc_…"]`; a server that
gives its visitors' addresses and agents, or old times, sends a key of `write_keys` as its project key.

- `$pageview` and `$screen` are page views, `$pageleave` is engagement; `$identify`, `$set` and `$create_alias`
  identify; `$web_vitals` are web vitals, and a click that leaves the site is an outbound link.
- All else is a custom event. Those whose name begins with `$` make no visit engaged, but for clicks.
- A body may be JSON, also in base64 or gzip in base64, or a form, in several parts (`multipart/form-data`) too, with
  the JSON in `data`, and the key beside it.
- Flags, recordings, surveys, heat maps and experiments are off: their requests get an answer that says so.
- Who sends too fast gets a 503, after which all clients send again; after a 429 the browser's does not.
- `$snapshot`, `$snapshot_items`, `$performance_event`, `$$heatmap` and `$$client_ingestion_warning` are no events: they
  are answered and not kept.
- Names that stand for nobody (`anonymous`, `guest`, `undefined`, `0`, …) are no user, nor by `$identify` and aliases.
- A `$groupidentify` in the name of the group itself, as servers send it, is answered and not kept.
- A server's events are another visitor's than those of the browser, by the same user.
- With `capture_mode="v1"` a client is told of a request as a whole: what was refused of it stands in the header
  `x-footfall-refused`, on `/ops` and among the dead letters.
- The scripts that PostHog's snippet loads (`/static/…`) are not served here.
"""
