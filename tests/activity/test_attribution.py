"""Source, medium and channel, from the address and the referrer."""

from __future__ import annotations

import pytest

from activity import url
from activity.attribution import DIRECT, names_origin, origin, referrer_host


@pytest.mark.parametrize(
    ("query", "referrer", "source", "channel"),
    [
        ("", "", "", "Direct"),
        ("", "https://www.google.com/", "google.com", "Organic Search"),
        ("", "https://www.google.co.uk/", "google.com", "Organic Search"),
        ("", "https://google.example.org/", "google.example.org", "Referral"),
        ("", "https://docs.google.com/document/d/1", "docs.google.com", "Referral"),
        ("", "https://gemini.google.com/app", "gemini.google.com", "AI Assistants"),
        ("", "https://chatgpt.com/", "chatgpt.com", "AI Assistants"),
        ("utm_source=chatgpt.com", "", "chatgpt.com", "AI Assistants"),
        ("", "https://t.co/x", "x.com", "Organic Social"),
        ("", "https://out.reddit.com/", "reddit.com", "Organic Social"),
        ("", "https://m.youtube.com/watch?v=1", "youtube.com", "Organic Video"),
        ("", "https://www.amazon.fr/", "amazon.com", "Organic Shopping"),
        ("", "android-app://com.google.android.gm/", "mail.google.com", "Email"),
        ("", "https://blog.example.net/post", "blog.example.net", "Referral"),
        ("UTM_Source=Google&UTM_MEDIUM=CPC", "", "google.com", "Paid Search"),
        ("x=1&amp;utm_source=fb&amp;utm_medium=paid", "", "facebook.com", "Paid Social"),
        ("GCLID=abc", "", "google.com", "Paid Search"),
        ("mtm_source=newsletter&mtm_medium=email&mtm_campaign=may", "", "newsletter", "Email"),
        ("pk_source=fb&pk_medium=paid", "https://www.google.com/", "facebook.com", "Paid Social"),
        ("mtm_source=x&utm_source=google", "", "google.com", "Organic Search"),
        ("ref=producthunt", "https://blog.example.net/", "producthunt.com", "Organic Social"),
        ("source=partner", "https://www.google.com/", "partner", "Referral"),
        ("utm_source=google&source=x&ref=y", "", "google.com", "Organic Search"),
        ("gclid=abc", "https://www.google.com/", "google.com", "Paid Search"),
        ("gclid=abc", "", "google.com", "Paid Search"),
        ("gclid=", "", "", "Direct"),
        ("gad_source=1&gad_campaignid=9", "", "google.com", "Paid Search"),
        ("yclid=1", "", "yandex.ru", "Paid Search"),
        ("ScCid=1", "", "snapchat.com", "Paid Social"),
        ("fbclid=abc", "", "facebook.com", "Organic Social"),
        ("fbclid=abc", "https://l.instagram.com/", "instagram.com", "Organic Social"),
        ("fbclid=abc&gclid=x", "", "google.com", "Paid Search"),
        ("fbclid=abc&utm_source=spring&utm_medium=email", "", "spring", "Email"),
        ("srsltid=abc", "", "google.com", "Organic Search"),
        ("utm_source=(direct)&utm_medium=(none)", "https://www.google.com/", "google.com", "Organic Search"),
        ("utm_source={{site_source_name}}", "https://l.facebook.com/", "facebook.com", "Organic Social"),
        ("utm_source=null&utm_medium=undefined", "", "", "Direct"),
        ("utm_source=none&ref=producthunt", "", "producthunt.com", "Organic Social"),
        ("utm_source=undefined&source=twitter", "", "x.com", "Organic Social"),
        ("source={source}&ref=hn", "https://www.google.com/", "news.ycombinator.com", "Organic Social"),
        ("utm_source=none&source=-&ref=null", "https://www.google.com/", "google.com", "Organic Search"),
        ("utm_source=none&source=-&ref=null", "", "", "Direct"),
        ("source=null", "", "", "Direct"),
        ("?utm_source=fb", "", "facebook.com", "Organic Social"),
        ("a=1?utm_source=fb&utm_medium=cpc", "", "facebook.com", "Paid Social"),
        ("utm_source%3Dfb%26utm_medium%3Dcpc", "", "facebook.com", "Paid Social"),
        ("next=/a?b=c&ref=hn", "", "news.ycombinator.com", "Organic Social"),
        ("matomo_source=fb&piwik_medium=cpc", "", "facebook.com", "Paid Social"),
        ("utm_source=&utm_source=fb&utm_source=x", "", "facebook.com", "Organic Social"),
        ("utm_source=google&utm_medium=cpc", "", "google.com", "Paid Search"),
        ("utm_source=google%3Futm_medium%3Dcpc", "", "google.com", "Paid Search"),
        ("utm_source=google%26utm_medium%3Dcpc&utm_medium=", "", "google.com", "Paid Search"),
        ("utm_source=google;utm_medium=cpc", "", "google.com", "Paid Search"),
        ("utm_medium=cpc%26utm_source%3Dgoogle", "", "google.com", "Paid Search"),
        ("+utm_source=google&%20utm_medium=cpc", "", "google.com", "Paid Search"),
        ("utm_source=%25D0%25BF%25D0%25B8", "", "пи", "Referral"),
        ("utm_source=n/a", "", "", "Direct"),
        ("mc_cid=1&mc_eid=2", "", "mailchimp", "Email"),
        ("tblci=1", "", "taboola", "Paid Other"),
        ("utm_source=p&utm_medium=social_media", "", "p", "Organic Social"),
        ("utm_source=p&utm_medium=E_Mail", "", "p", "Email"),
        ("utm_source=google&utm_medium=cpc&utm_campaign=cross-network", "", "google.com", "Cross-network"),
        ("utm_source=google&utm_medium=cpc&utm_campaign=shop-spring", "", "google.com", "Paid Shopping"),
        ("utm_source=fb&utm_medium=paid-social", "", "facebook.com", "Paid Social"),
        ("utm_source=youtube&utm_medium=ppc", "", "youtube.com", "Paid Video"),
        ("utm_source=site.example&utm_medium=banner", "", "site.example", "Display"),
        ("utm_source=site.example&utm_medium=cpc", "", "site.example", "Paid Other"),
        ("utm_source=news&utm_medium=email", "", "news", "Email"),
        ("utm_source=newsletter", "", "newsletter", "Email"),
        ("utm_source=p&utm_medium=affiliate", "", "p", "Affiliates"),
        ("utm_source=p&utm_medium=audio", "", "p", "Audio"),
        ("utm_source=p&utm_medium=sms", "", "p", "SMS"),
        ("utm_source=p&utm_medium=web-push", "", "p", "Mobile Push"),
        ("utm_medium=social", "", "", "Organic Social"),
        ("utm_source=fb-ads", "", "facebook.com", "Paid Social"),
        ("utm_source=Google+Ads", "", "google.com", "Paid Search"),
        ("utm_source=Adwords", "", "google.com", "Paid Search"),
        ("utm_source=fbads", "", "facebook.com", "Paid Social"),
        ("utm_source=facebook_paid_social", "", "facebook.com", "Paid Social"),
        ("utm_source=linkedin-cpc", "", "linkedin.com", "Paid Social"),
        ("utm_source=facebook_social", "", "facebook.com", "Organic Social"),
        ("utm_source=ads", "", "ads", "Referral"),
        ("utm_source=google_search_ads", "", "google.com", "Paid Search"),
        ("utm_source=yt-ads", "", "youtube.com", "Paid Video"),
        ("utm_source=meta_ads", "", "meta", "Paid Social"),
        ("utm_source=facebook_ads&utm_medium=social", "", "facebook.com", "Organic Social"),
        ("utm_source=threads", "", "threads.com", "Organic Social"),
        ("utm_source=leads", "", "leads", "Referral"),
        ("utm_source=google&utm_medium=pmax&gad_source=1", "", "google.com", "Paid Search"),
        ("utm_source=google&utm_medium=organic&gclid=x", "", "google.com", "Organic Search"),
        ("utm_source=google&utm_medium=display&gclid=x", "", "google.com", "Display"),
        ("utm_source=spring&utm_medium=email&gclid=x", "", "spring", "Email"),
        ("utm_source=fb&utm_medium=post&fbclid=x", "", "facebook.com", "Organic Social"),
        ("utm_source=google&utm_medium=sem", "", "google.com", "Paid Search"),
        ("utm_source=fb&utm_medium=social-paid", "", "facebook.com", "Paid Social"),
        ("utm_source=p&utm_medium=Facebook+Ads", "", "p", "Paid Other"),
        *((f"utm_source=linkedin&utm_medium={medium}", "", "linkedin.com", "Organic Social")
          for medium in ("non-paid", "non_paid", "not+paid", "unpaid", "organic-ad", "social_unpaid", "nonpaid")),
        ("utm_source=p&utm_medium=non-paid&gclid=x", "", "p", "Referral"),
        ("utm_source=p&utm_medium=readme", "", "p", "Referral"),
        ("utm_source=p&utm_medium=download", "", "p", "Referral"),
        ("utm_source=p&utm_medium=banner+ad", "", "p", "Display"),
        ("utm_source=p&utm_medium=display-ads", "", "p", "Display"),
        ("utm_source=p&utm_medium=paid-display", "", "p", "Paid Other"),
        ("utm_source=p&utm_medium=email_marketing", "", "p", "Email"),
        ("utm_source=p&utm_medium=Mail", "", "p", "Email"),
        ("utm_source=p&utm_medium=direct+mail", "", "p", "Referral"),
        ("utm_source=p&utm_medium=social-post", "", "p", "Organic Social"),
        ("utm_source=p&utm_medium=affiliate_marketing", "", "p", "Affiliates"),
        ("utm_source=p&utm_medium=sms-campaign", "", "p", "SMS"),
        ("utm_source=p&utm_medium=llm", "", "p", "AI Assistants"),
        ("awc=1_2", "", "awin", "Affiliates"),
        ("utm_source[]=fb&utm_medium%5B%5D=cpc", "", "facebook.com", "Paid Social"),
        ("utm_source[0]=fb&mtm_medium[]=cpc", "", "facebook.com", "Paid Social"),
        *((query, "https://www.google.com/", "google.com", "Organic Search")
          for query in ("source[]=a&source[]=b", "source%5Bid%5D=5", "ref[code]=a", "ref[0]=a", "utm_source[1]=a")),
        ("a=1&utm_source%3Dfb%26utm_medium%3Dcpc", "", "facebook.com", "Paid Social"),
        ("utm_source%253Dfb%2526utm_medium%253Dcpc", "", "facebook.com", "Paid Social"),
        ("utm_source=fb%5Cu0026utm_medium=cpc", "", "facebook.com", "Paid Social"),
        ("utm_source=fb,utm_medium=cpc", "", "facebook.com", "Paid Social"),
        ("utm_source=fb%2Futm_medium%3Dcpc", "", "facebook.com", "Paid Social"),
        ("utm_source=fb%5C", "", "facebook.com", "Organic Social"),
        ("ref=/pricing", "https://www.google.com/", "google.com", "Organic Search"),
        ("ref=//hn.algolia.com/x", "", "news.ycombinator.com", "Organic Social"),
        ("irclickid=x", "https://deals.example/", "deals.example", "Affiliates"),
        ("elqTrackId=x", "", "eloqua", "Email"),
        ("ef_id=x:G:s", "https://www.google.com/", "google.com", "Paid Search"),
        ("gad_campaignid=1", "", "google.com", "Paid Search"),
        ("utm_source=__SOURCE__", "https://www.google.com/", "google.com", "Organic Search"),
        ("utm_source=%25%25source%25%25", "https://www.google.com/", "google.com", "Organic Search"),
        ("utm_source=*%7CSOURCE%7C*", "https://www.google.com/", "google.com", "Organic Search"),
        ("utm_source=(other)&utm_medium=unknown", "", "", "Direct"),
    ],
)
def test_source_and_channel(query: str, referrer: str, source: str, channel: str) -> None:
    found = origin(url.parameters(query), referrer_host(referrer))
    assert (found.source, found.channel) == (source, channel)


def test_a_campaign_of_matomo_s_names_is_one() -> None:
    found = origin(url.parameters("pk_campaign=May&mtm_kwd=red&pk_kwd=blue&mtm_content=c"), "")
    assert (found.utm_campaign, found.utm_term, found.utm_content) == ("May", "red", "c")


def test_medium_and_campaign_are_kept() -> None:
    found = origin(
        url.parameters("utm_source=n&utm_medium=Email&utm_campaign=May%20sale&utm_term=t&utm_content=c"), ""
    )
    assert (found.utm_medium, found.utm_campaign, found.utm_term, found.utm_content) == (
        "Email", "May sale", "t", "c",
    )  # fmt: skip
    assert found.medium == "email"
    assert origin({}, "www.bing.com").medium == "organic"
    assert origin({}, "example.net").medium == "referral"
    assert origin({"ref": "hn"}, "").utm_source == ""
    assert origin({"utm_source": "(None)", "ref": "hn"}, "").utm_source == "(None)"
    assert origin({"page": "2"}, "") is DIRECT


@pytest.mark.parametrize(
    "referrer",
    ["https%3A%2F%2Fa.example%2Fx", " https://a.example/ ", '"https://a.example/"', "<http://a.example>",
     "https:\\\\a.example\\x", "https://a.example\\x", "https://a.example/,https://a.example/",
     "https://a.example,https://b.example", "https://a.example\x00/", "HTTPS%3a%2f%2fA.example"],
)  # fmt: skip
def test_a_referrer_is_read_whoever_wrote_it(referrer: str) -> None:
    assert referrer_host(referrer) == "a.example"


@pytest.mark.parametrize(
    ("referrer", "host", "stored"),
    [
        ("https://jane,doe:pw@b.example/x", "b.example", "https://b.example/x"),
        ("https://b.example\\@evil.example/", "b.example", "https://b.example\\@evil.example/"),
        ("https:\\\\me:pw@b.example\\x", "b.example", "https:\\\\b.example\\x"),
        ("https%3A%2F%2Fme%3Apw%40b.example%2Fx%3Bjsessionid%3DAB", "b.example", "https://b.example/x"),
        ("HTTPS%3A%2F%2Fb.example%2Fx%3FPHPSESSID%3DAB%26a%0A", "b.example", "HTTPS://b.example/x?a"),
        ("100%25", "", "100%25"),
    ],
)
def test_a_referrer_is_stored_as_it_is_read_and_without_secrets(referrer: str, host: str, stored: str) -> None:
    assert (referrer_host(referrer), url.without_session_ids(referrer)) == (host, stored)
    assert referrer_host(stored) == host


@pytest.mark.parametrize(
    "referrer", ["", "-", "about:blank", "javascript:alert(1)", "https://", "https:///x", "example.net", "http://a b/"]
)
def test_a_referrer_that_leads_nowhere(referrer: str) -> None:
    assert referrer_host(referrer) == ""


@pytest.mark.parametrize("name", [
    "utm_source", "UTM_Medium", "amp;utm_campaign", "mtm_group", "matomo_source", "pk_kwd", "piwik_campaign", "source",
    "ref", "utm_source[]", "gclid", "GBRAID", "msclkid", "li_fat_id", "mc_cid", "_hsmi", "mkt_tok",
])  # fmt: skip
def test_a_parameter_that_says_where_a_visitor_came_from(name: str) -> None:
    assert names_origin(name)
    assert origin({name: "x"}, "") != DIRECT or name == "mtm_group"


@pytest.mark.parametrize("name", ["", "q", "page", "reference", "utm", "my_source", "clid", "sourceid", "ref[]"])
def test_a_parameter_of_a_page(name: str) -> None:
    assert not names_origin(name)
    assert origin({name: "x"}, "") == DIRECT
