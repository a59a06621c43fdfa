"""URL WEBSITE [KEY]: what Umami's client for Python sends; with a key, as a server that tells of its visitor."""

import sys

import umami

url, website, *key = sys.argv[1:]
umami.set_url_base(url)
umami.set_website_id(website)
umami.set_hostname("example.com")
assert umami.heartbeat()
who = {"distinct_id": "user-1"}
if key:
    umami.login("footfall", key[0])
    assert umami.verify_token()
    who["ip_address"] = "192.0.2.7"
told = [
    umami.new_page_view("Shop", "/shop?utm_source=letter", referrer="https://search.example/", **who),
    umami.new_event("search", url="/shop", custom_data={"query": "red hat", "results": 3}, **who),
    umami.new_event("signup", url="/shop", custom_data={"plan": "pro", "seats": 3, "tags": ["a"]}, **who),
    umami.new_revenue_event(9.9, "EUR", "paid", url="/shop", **who),
]
assert all(answer["sessionId"] and answer["cache"] for answer in told)
sys.stdout.write(f"{len(told)} delivered\n")
