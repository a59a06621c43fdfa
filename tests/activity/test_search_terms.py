"""What a visitor searched for on the site, however the form calls it and the browser encodes it."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from activity import url
from activity.encodings import as_text
from activity.search_terms import search_term


@pytest.mark.parametrize(
    ("term", "queries"),
    [
        ("hats", ["q=hats", "q[]=hats", "q%5B%5D=hats", "search[term]=hats", "search%5Bterm%5D=hats", "Q=hats",
                  "SEARCH=hats", "filter[q]=hats", "q[0]=hats", "form.q=hats", "q=%00&s=hats", "q=&q[]=hats",
                  "p=1&amp;q=hats"]),
        ("hats", ["search_query=hats", "searchTerm=hats", "search-text=hats", "Search_Keywords=hats", "searchFor=hats",
                  "search{term}=hats", "search(term)=hats", "q[title_cont]=hats", "query[match]=hats", "_q=hats",
                  "search_api_fulltext=hats", "keys=hats", "sSearch=hats", "tx_indexedsearch_pi2[search][sword]=hats",
                  "search_key=hats", "searchKey=hats", "query-key=hats", "search_keyword=hats",
                  "tx_kesearch_pi1%5Bsword%5D=hats",
                  "txtSearch=hats", "filters[search][value]=hats",
                  "search_api_views_fulltext=hats", "searchparam=hats", "searchbox=hats", "_3_keywords=hats",
                  "ctl00$q=hats", "form:query=hats",
                  "_com_liferay_portal_search_web_portlet_SearchPortlet_keywords=hats",
                  "lang=de?q=hats", "?q=hats", "q={search_term_string}&s=hats", "as_q=hats", "_sf_s=hats",
                  "fwp_search=hats", "wpv_post_search=hats"]),
        ("hats", ["q=%EF%BB%BFhats", "q=%E2%80%8Bhats", "q=ha%C2%ADts", "q=%E2%80%8Ehats%C2%A0"]),
        ("M&M", ["q%3DM%2526M", "q=M%26M", "q=M%26amp%3BM", "q=M%2526amp%253BM"]),
        ('"50 €"', ["q=%2250+%E2%82%AC%22", "q=%26quot%3B50+%80%26%2334%3B"]),
        ("&amp;", ["q=%26amp%3B"]),
        ("á la carte", ["q=%C3%A1+la+carte", "q=%C3%83%C2%A1+la+carte", "q=%26aacute%3B+la+carte"]),
        ("👨‍👩‍👧", ["q=%F0%9F%91%A8%E2%80%8D%F0%9F%91%A9%E2%80%8D%F0%9F%91%A7"]),
        ("red shoes", ["q=red+shoes", "q=red%20shoes", "q=red%2520shoes", "q=red%0A%09shoes", "q=red%252520shoes"]),
        ("café", ["q=caf%C3%A9", "q=café", "q=caf%c3%a9", "q=caf%E9", "q=caf%e9", "q=caf%25C3%25A9", "q=caf%25E9",
                  "q=caf%u00E9", "q=cafe%CC%81", "q[]=caf%E9"]),
        ("“50 €”", ["q=%9350+%80%94", "q=%E2%80%9C50+%E2%82%AC%E2%80%9D"]),
        ("😀", ["q=%uD83D%uDE00", "q=%F0%9F%98%80"]),
        ("привет", ["q=%EF%F0%E8%E2%E5%F2", "q=%25EF%25F0%25E8%25E2%25E5%25F2",
                    "q=%EF%F0%E8%E2%E5%F2&ie=windows-1251", "_charset_=cp1251&q=%EF%F0%E8%E2%E5%F2",
                    "q=%D0%D2%C9%D7%C5%D4&enc=KOI8-R",
                    "q=%D0%BF%D1%80%D0%B8%D0%B2%D0%B5%D1%82&ie=cp1251"]),
        ("帽子", ["q=%C3%B1%D7%D3&ie=gb2312", "q=%B4U%A4l&charset=Big5", "q=%96X%8Eq&ie=Shift_JIS",
                  "q=%CB%B9%BB%D2&ei=EUC-JP"]),
        ("ïðèâåò", ["q=%EF%F0%E8%E2%E5%F2&charset=cp1252"]),
        ("ÿa", ["q=%FFa&ie=gbk"]),
        ("日本", ["q=%E6%97%A5%E6%9C%AC%E8%AA", "q=%E6%97%A5%E6%9C%AC%E8&ie=cp1251"]),
        ("a=b", ["q%3Da%253Db"]),
        ("c++", ["q=c%2B%2B"]),
        ("100%", ["q=100%", "q=100%25"]),
        ("5%de", ["q=5%25de"]),
        ("50% off", ["q=50%25+off"]),
        ("", ["search[color]=red", "page=2", "q=+", "tags[]=q", "q=%00", "search_page=2", "_k=x1y2",
              "_s=a", "q={search_term_string}", "q=%7Bsearch_term_string%7D", "q={{query}}", "q=${query}",
              "s=0123456789abcdef0123456789abcdef", "next=/a?b=c", "next=/find?q=hats",
              "sword=x"]),
    ],
)  # fmt: skip
def test_a_search_term_has_one_spelling(term: str, queries: list[str]) -> None:
    for query in queries:
        address = url.parse(f"https://example.com/find?{query}")
        assert address is not None
        assert search_term(url.parameters(address.query)) == term, query


def test_a_sites_own_parameter_is_found_in_each_form() -> None:
    for query in ("Find=hats", "find=hats", "find[]=hats", "a[Find]=hats"):
        assert search_term(url.parameters(query), ["Find"]) == "hats"
    assert search_term({"a[b]": "hats", "b": "caps"}, ["a[b]"]) == "hats"


OLD = st.lists(st.tuples(st.sampled_from("éèêëüßñøæ€œ"), st.sampled_from("abcx")), min_size=1, max_size=9)


@given(OLD, st.booleans())
def test_a_term_in_windows_1252_is_read_as_it_was_typed(letters: list[tuple[str, str]], utf_8: bool) -> None:
    term = "".join(high + low for high, low in letters)
    query = "q=" + "".join(f"%{byte:02X}" for byte in term.encode("utf-8" if utf_8 else "cp1252"))
    assert search_term(url.parameters(query)) == term


@given(st.binary(max_size=20).filter(lambda raw: b"%" not in raw))
@example(b"\xa0")
def test_no_term_is_destroyed(raw: bytes) -> None:
    term = search_term(url.parameters("q=" + "".join(f"%{byte:02X}" for byte in raw)))
    assert "\ufffd" not in term or b"\xef\xbf\xbd" in raw
    text = as_text(raw.decode("utf-8", "surrogateescape"))  # one byte is a space in Windows-1252, too
    assert term or not any(char.isprintable() and not char.isspace() for char in text)
