"""What user agents tell: real ones of 2023 to 2026, the expectations reasoned from what each makes of itself."""

from __future__ import annotations

from pathlib import Path

import pytest
from ua_parser.regex import Resolver

from ingest.errors import TidemarkError
from ingest.user_agents import SEEDS, Agent, AgentReader

WEBKIT = "AppleWebKit/605.1.15 (KHTML, like Gecko)"
BLINK = "AppleWebKit/537.36 (KHTML, like Gecko)"
WINDOWS = f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {BLINK} Chrome/130.0.0.0 Safari/537.36"
MAC = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7)"
IPHONE = f"Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) {WEBKIT}"
IPAD = f"Mozilla/5.0 (iPad; CPU OS 17_5 like Mac OS X) {WEBKIT}"
PIXEL = f"Mozilla/5.0 (Linux; Android 14; Pixel 8) {BLINK}"

# user agent, device type, browser, its version begins, operating system, its version begins
PEOPLE = [
    (WINDOWS, "desktop", "Chrome", "130.0", "Windows", "10"),
    (f"{WINDOWS} Edg/130.0.0.0", "desktop", "Edge", "130.0", "Windows", "10"),
    (f"{WINDOWS} OPR/115.0.0.0", "desktop", "Opera", "115.0", "Windows", "10"),
    ("Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:132.0) Gecko/20100101 Firefox/132.0",
     "desktop", "Firefox", "132.0", "Windows", "10"),
    ("Mozilla/5.0 (Windows NT 6.1; WOW64; Trident/7.0; Tablet PC 2.0; rv:11.0) like Gecko",
     "desktop", "IE", "11.0", "Windows", "7"),
    (f"{MAC} {WEBKIT} Version/18.1 Safari/605.1.15", "desktop", "Safari", "18.1", "Mac OS X", "10.15.7"),
    (f"{MAC} {BLINK} Chrome/131.0.0.0 Safari/537.36", "desktop", "Chrome", "131.0", "Mac OS X", "10.15.7"),
    ("Mozilla/5.0 (Macintosh; Intel Mac OS X 10.15; rv:132.0) Gecko/20100101 Firefox/132.0",
     "desktop", "Firefox", "132.0", "Mac OS X", "10.15"),
    (f"Mozilla/5.0 (X11; Linux x86_64) {BLINK} Chrome/129.0.0.0 Safari/537.36",
     "desktop", "Chrome", "129.0", "Linux", ""),
    ("Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:131.0) Gecko/20100101 Firefox/131.0",
     "desktop", "Firefox", "131.0", "Ubuntu", ""),
    (f"Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) {BLINK} Chrome/128.0.0.0 Safari/537.36",
     "desktop", "Chrome", "128.0", "Chrome OS", "14541.0.0"),
    (f"{IPHONE} Version/17.5 Mobile/15E148 Safari/604.1", "mobile", "Mobile Safari", "17.5", "iOS", "17.5"),
    (f"{IPHONE} CriOS/130.0.6723.90 Mobile/15E148 Safari/604.1", "mobile", "Chrome Mobile iOS", "130.0", "iOS", "17.5"),
    (f"{IPHONE} FxiOS/132.0 Mobile/15E148 Safari/605.1.15", "mobile", "Firefox iOS", "132.0", "iOS", "17.5"),
    (f"{IPHONE} Mobile/15E148 Instagram 355.0.0.29.100 (iPhone14,5; iOS 17_5; en_US; en; scale=3.00; 1170x2532; 1)",
     "mobile", "Instagram", "355.0", "iOS", "17.5"),
    (f"{IPHONE} Mobile/15E148 [FBAN/FBIOS;FBAV/486.0.0.61.68;FBBV/650000000;FBDV/iPhone14,5;FBMD/iPhone;FBSN/iOS;"
     "FBSV/17.5;FBSS/3;FBID/phone;FBLC/en_US]", "mobile", "Facebook", "486.0", "iOS", "17.5"),
    (f"{IPAD} Version/17.5 Mobile/15E148 Safari/604.1", "tablet", "Mobile Safari", "17.5", "iOS", "17.5"),
    (f"{IPAD} CriOS/130.0.6723.90 Mobile/15E148 Safari/604.1", "tablet", "Chrome Mobile iOS", "130.0", "iOS", "17.5"),
    # An iPad that asks for desktop pages inside an app still says Mobile, which no Mac does.
    (f"{MAC} {WEBKIT} Mobile/15E148", "tablet", None, None, "Mac OS X", "10.15.7"),
    (f"{PIXEL} Chrome/130.0.0.0 Mobile Safari/537.36", "mobile", "Chrome Mobile", "130.0", "Android", "14"),
    (f"Mozilla/5.0 (Linux; Android 10; K) {BLINK} Chrome/131.0.0.0 Mobile Safari/537.36",
     "mobile", "Chrome Mobile", "131.0", "Android", "10"),
    (f"Mozilla/5.0 (Linux; Android 14; SAMSUNG SM-S928B) {BLINK} SamsungBrowser/26.0 Chrome/122.0.0.0 Mobile "
     "Safari/537.36",
     "mobile", "Samsung Internet", "26.0", "Android", "14"),
    (f"Mozilla/5.0 (Linux; Android 14; Pixel 8; wv) {BLINK} Version/4.0 Chrome/130.0.6723.58 Mobile Safari/537.36",
     "mobile", "Chrome Mobile WebView", "130.0", "Android", "14"),
    ("Mozilla/5.0 (Android 14; Mobile; rv:132.0) Gecko/132.0 Firefox/132.0",
     "mobile", "Firefox Mobile", "132.0", "Android", "14"),
    ("Mozilla/5.0 (Android 14; Tablet; rv:132.0) Gecko/132.0 Firefox/132.0", "tablet", None, "132.0", "Android", "14"),
    (f"Mozilla/5.0 (Linux; Android 14; SM-X810) {BLINK} Chrome/130.0.0.0 Safari/537.36",
     "tablet", "Chrome", "130.0", "Android", "14"),
    (f"Mozilla/5.0 (Linux; Android 11; KFTRWI) {BLINK} Silk/124.2.8 like Chrome/124.0.6367.179 Safari/537.36",
     "tablet", "Amazon Silk", "124.2", "Android", "11"),
    ("Dalvik/2.1.0 (Linux; U; Android 13; SM-A546B Build/TP1A.220624.014)", "mobile", None, None, "Android", "13"),
    (f"Mozilla/5.0 (Linux; Android 12; CUBOT NOTE 30) {BLINK} Chrome/120.0.0.0 Mobile Safari/537.36",
     "mobile", "Chrome Mobile", "120.0", "Android", "12"),
    ("Opera/9.80 (Android; Opera Mini/79.0.2254/191.303; U; en) Presto/2.12.423 Version/12.16",
     "mobile", "Opera Mini", "79.0", "Android", ""),
    ("Mozilla/5.0 (Mobile; Nokia_8110_4G; rv:48.0) Gecko/48.0 Firefox/48.0 KAIOS/2.5",
     "mobile", None, None, "KaiOS", "2.5"),
    (f"Mozilla/5.0 (SMART-TV; LINUX; Tizen 7.0) {BLINK} 94.0.4606.31/7.0 TV Safari/537.36",
     "other", None, None, "Tizen", "7.0"),
    (f"Mozilla/5.0 (Linux; Android 10; BRAVIA 4K VH2) {BLINK} Chrome/120.0.0.0 Safari/537.36",
     "other", "Chrome", "120.0", "Android", "10"),
    (f"Mozilla/5.0 (Windows NT 10.0; Win64; x64; Xbox; Xbox One) {BLINK} Chrome/120.0.0.0 Safari/537.36 Edg/120.0.0.0",
     "other", "Edge", "120.0", None, None),
]  # fmt: skip

# Nobody sat behind these: user agent, name.
BOTS = [
    ("Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", "Googlebot"),
    (f"Mozilla/5.0 (Linux; Android 6.0.1; Nexus 5X Build/MMB29P) {BLINK} Chrome/130.0.0.0 Mobile Safari/537.36 "
     "(compatible; Googlebot/2.1; +http://www.google.com/bot.html)", "Googlebot"),
    ("Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)", "bingbot"),
    (f"Mozilla/5.0 {BLINK}; compatible; GPTBot/1.2; +https://openai.com/gptbot)", "GPTBot"),
    (f"Mozilla/5.0 {BLINK}; compatible; ChatGPT-User/1.0; +https://openai.com/bot", None),
    (f"Mozilla/5.0 {BLINK}; compatible; ClaudeBot/1.0; +claudebot@anthropic.com)", "ClaudeBot"),
    (f"Mozilla/5.0 {BLINK}; compatible; PerplexityBot/1.0; +https://perplexity.ai/perplexitybot)", None),
    ("Mozilla/5.0 (compatible; Bytespider; spider-feedback@bytedance.com)", None),
    ("facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)", None),
    (f"Mozilla/5.0 (X11; Linux x86_64) {BLINK} HeadlessChrome/126.0.0.0 Safari/537.36", "HeadlessChrome"),
    ("curl/8.5.0", "curl"),
    ("python-requests/2.32.3", "Python Requests"),
    ("Go-http-client/2.0", "Go-http-client"),
    ("PostmanRuntime/7.42.0", None),
]  # fmt: skip

NOTHING_TOLD = [
    "",
    " ",
    "-",
    "UA",
    "null",
    "\x01\x7f",
    "🙂" * 300,
    "(" * 10_000,
    "Mozilla/5.0",
    "'; drop table raw.events; --",
]


@pytest.fixture(scope="module")
def reader() -> AgentReader:
    return AgentReader()


@pytest.mark.parametrize(("agent", "device", "browser", "version", "system", "system_version"), PEOPLE)
def test_a_person_s_device_browser_and_system(reader, agent, device, browser, version, system, system_version):
    told = reader.read(agent)
    assert (told.is_bot, told.device_type) == (False, device)
    if browser:
        assert told.browser_name == browser
    if version:
        assert told.browser_version.startswith(version)
    if system:
        assert told.os_name == system
        assert (told.os_version or "").startswith(system_version)


@pytest.mark.parametrize(("agent", "name"), BOTS)
def test_a_bot_is_one_whatever_device_it_claims(reader, agent, name):
    told = reader.read(agent)
    assert (told.is_bot, told.device_type, told.device_brand) == (True, "bot", None)
    if name:
        assert told.browser_name == name


@pytest.mark.parametrize("agent", NOTHING_TOLD)
def test_what_tells_nothing_is_nothing(reader, agent):
    assert reader.read(agent) == Agent()


def test_an_ipad_in_desktop_mode_cannot_be_told_from_a_mac(reader):
    # The limit the page on enrichment speaks of: Safari on iPadOS sends a Mac's user agent, letter for letter.
    assert reader.read(f"{MAC} {WEBKIT} Version/17.5 Safari/605.1.15").device_type == "desktop"


def test_only_the_first_thousand_characters_are_read(reader):
    padding = "x" * (1000 - len(WINDOWS) - 1)
    assert reader.read(f"{WINDOWS} {padding} Googlebot/2.1") == reader.read(f"{WINDOWS} {padding}")
    assert not reader.read(f"{WINDOWS} {padding} Googlebot/2.1").is_bot


def test_a_matcher_reads_that_no_string_can_make_slow(reader):
    # Linear in the string's length by its construction; the library's other matchers backtrack.
    assert isinstance(reader.parser.resolver, Resolver)
    hostile = ["; " * 500, "Linux " * 160, "a" * 1000, "(((a)))" * 140, "\t" * 1000, "/1" * 500]
    assert [reader.read(text).is_bot for text in hostile] == [False] * len(hostile)


def seeds(folder: Path, **texts: str) -> Path:
    """A folder with the project's seeds, some replaced."""
    for name in ("device_rules", "bot_agents"):
        text = texts.get(name) or (SEEDS / f"{name}.csv").read_text(encoding="utf-8")
        (folder / f"{name}.csv").write_text(text, encoding="utf-8")
    return folder


def test_the_version_names_the_librarys_rules_and_the_seeds(reader, tmp_path):
    assert AgentReader(seeds(tmp_path)).version == reader.version
    changed = AgentReader(seeds(tmp_path, bot_agents="agent_word,is_bot,purpose\nacme-probe,true,ours\n"))
    assert changed.version != reader.version
    assert reader.version.startswith("ua-parser-builtins ")


def test_the_longest_word_of_the_seed_decides_before_the_library(tmp_path):
    words = "agent_word,is_bot,purpose\nbot,true,x\nacme robot,false,x\ngooglebot/2,false,x\n"
    reader = AgentReader(seeds(tmp_path, bot_agents=words))
    assert [reader.read(agent).is_bot for agent in ("some Bot", "ACME robot bot", "Googlebot/2.1", "Googlebot/3")] == [
        True, False, False, True,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("seed", "text", "message"),
    [
        ("device_rules", "rule_order,told_by,pattern,device_type\n1,user_agent,*,phone\n", "device_type one of"),
        ("device_rules", "rule_order,told_by,pattern,device_type\n1,browser,*,mobile\n", "told_by is one of"),
        ("device_rules", "rule_order,told_by,pattern,device_type\nfirst,user_agent,*,mobile\n", "whole number"),
        ("device_rules", "rule_order,pattern\n1,*\n", "cannot read the rules"),
        ("bot_agents", "agent_word,is_bot,purpose\n,true,x\n", "give a word"),
        ("bot_agents", "agent_word,is_bot,purpose\nbot,perhaps,x\n", "true or false"),
    ],
)
def test_a_seed_that_says_what_it_may_not_is_named(tmp_path, seed, text, message):
    with pytest.raises(TidemarkError, match=message) as error:
        AgentReader(seeds(tmp_path, **{seed: text}))
    assert f"{seed}.csv" in str(error.value)
