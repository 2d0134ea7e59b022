"""Channels of visits, by GA4's published definitions and where the rules go beyond them."""

from __future__ import annotations

import contextlib

from ingest.connection import connect
from tests.warehouse.acquisition import acquisition_macros

# Source, medium, campaign, referring host and click id of a visit to the app `shop`, as rules compare them → channel.
CASES = (
    # Direct: source (direct), medium (none) or (not set)
    ("direct", "none", "none", "", "", "Direct"),
    ("(direct)", "(none)", "none", "", "", "Direct"),
    ("(direct)", "(not set)", "none", "", "", "Direct"),
    # Cross-network: the campaign's name contains it, whatever the source
    ("google", "cpc", "pmax-cross-network-de", "", "", "Cross-network"),
    # Paid Shopping: a shopping site or a campaign called shop, and a paid medium
    ("amazon.de", "cpc", "none", "", "", "Paid Shopping"),
    ("google", "cpc", "shopping-spring", "", "", "Paid Shopping"),
    ("google", "cpc", "shop", "", "", "Paid Shopping"),
    # the pattern wants no letter but e before `shop`: a workshop is none, an eshop is
    ("google", "cpc", "workshop", "", "", "Paid Search"),
    ("google", "cpc", "eshop", "", "", "Paid Shopping"),
    # Paid Search, Social, Video: a listed site and ^(.*cp.*|ppc|retargeting|paid.*)$
    ("google", "cpc", "spring", "", "", "Paid Search"),
    ("bing", "ppc", "none", "", "", "Paid Search"),
    ("duckduckgo.com", "paid-search", "none", "", "", "Paid Search"),
    ("google.co.uk", "cpm", "none", "", "", "Paid Search"),
    ("facebook", "paid_social", "none", "", "", "Paid Social"),
    ("facebook", "retargeting", "none", "", "", "Paid Social"),
    ("linkedin.com", "cpc", "none", "", "", "Paid Social"),
    ("youtube.com", "cpv-cpc", "none", "", "", "Paid Video"),
    # Display: one of five media
    ("news.example", "display", "none", "", "", "Display"),
    ("news.example", "banner", "none", "", "", "Display"),
    ("news.example", "expandable", "none", "", "", "Display"),
    ("news.example", "interstitial", "none", "", "", "Display"),
    ("news.example", "cpm", "none", "", "", "Display"),
    # Paid Other
    ("partner", "cpc", "none", "", "", "Paid Other"),
    ("partner", "paid", "none", "", "", "Paid Other"),
    # Organic Shopping, Social, Video, Search
    ("etsy.com", "referral", "none", "etsy.com", "", "Organic Shopping"),
    ("newsletter.example", "link", "shop-opening", "", "", "Organic Shopping"),
    ("facebook.com", "referral", "none", "facebook.com", "", "Organic Social"),
    ("l.facebook.com", "referral", "none", "l.facebook.com", "", "Organic Social"),
    ("partner", "social-media", "none", "", "", "Organic Social"),
    ("partner", "sm", "none", "", "", "Organic Social"),
    ("t.co", "referral", "none", "t.co", "", "Organic Social"),
    ("m.youtube.com", "referral", "none", "m.youtube.com", "", "Organic Video"),
    ("partner", "video-ad", "none", "", "", "Organic Video"),
    ("google.com", "referral", "none", "google.com", "", "Organic Search"),
    ("google.com.br", "referral", "none", "google.com.br", "", "Organic Search"),
    ("partner", "organic", "none", "", "", "Organic Search"),
    # AI Assistant: medium ai-assistant; by the site too, where GA4 writes that medium itself
    ("chatgpt.com", "ai-assistant", "(ai-assistant)", "", "", "AI Assistant"),
    ("chatgpt.com", "none", "none", "", "", "AI Assistant"),
    ("claude.ai", "referral", "none", "claude.ai", "", "AI Assistant"),
    ("gemini.google.com", "referral", "none", "gemini.google.com", "", "AI Assistant"),
    ("perplexity.ai", "referral", "none", "perplexity.ai", "", "AI Assistant"),
    # a link that says it is an ad is one
    ("chatgpt.com", "cpc", "none", "", "", "Paid Other"),
    # Email: source or medium in four spellings
    ("newsletter", "email", "march", "", "", "Email"),
    ("partner", "e-mail", "none", "", "", "Email"),
    ("e_mail", "weekly", "none", "", "", "Email"),
    ("partner", "e mail", "none", "", "", "Email"),
    ("mail.google.com", "referral", "none", "mail.google.com", "", "Email"),
    ("outlook.live.com", "referral", "none", "outlook.live.com", "", "Email"),
    # Affiliates, Referral, Audio, SMS, Mobile Push Notifications
    ("partner", "affiliate", "none", "", "", "Affiliate"),
    ("partner", "affiliates", "none", "", "", "Affiliate"),
    ("news.example", "referral", "none", "news.example", "", "Referral"),
    ("partner", "app", "none", "", "", "Referral"),
    ("partner", "link", "none", "", "", "Referral"),
    ("spotify", "audio", "none", "", "", "Audio"),
    ("sms", "text", "none", "", "", "SMS"),
    ("partner", "sms", "none", "", "", "SMS"),
    ("partner", "web-push", "none", "", "", "Mobile Push Notifications"),
    ("partner", "mobile-message", "none", "", "", "Mobile Push Notifications"),
    ("partner", "app notification", "none", "", "", "Mobile Push Notifications"),
    ("firebase", "message", "none", "", "", "Mobile Push Notifications"),
    # Unassigned
    ("partner", "brochure", "none", "", "", "Unassigned"),
    # a look-alike of a listed site is none, nor is a word that only ends like one
    ("google.com.evil.example", "referral", "none", "google.com.evil.example", "", "Referral"),
    ("notfacebook.com", "referral", "none", "notfacebook.com", "", "Referral"),
    ("google.evil", "referral", "none", "google.evil", "", "Referral"),
    # own pages, and subdomains of them
    ("shop.example", "referral", "none", "shop.example", "", "Internal"),
    ("blog.shop.example", "referral", "none", "blog.shop.example", "", "Internal"),
    ("shop.example", "email", "none", "shop.example", "", "Email"),
    # only session batches know the visit
    ("(not set)", "(not set)", "(not set)", "", "", "(not set)"),
    # click ids: of ads, unless the link says what it is; fbclid is on every link of Facebook
    ("direct", "none", "none", "", "gclid", "Paid Search"),
    ("(not set)", "(not set)", "(not set)", "", "gclid", "Paid Search"),
    ("google.com", "referral", "none", "google.com", "gbraid", "Paid Search"),
    ("bing.com", "referral", "none", "bing.com", "msclkid", "Paid Search"),
    ("news.example", "referral", "none", "news.example", "dclid", "Display"),
    ("direct", "none", "none", "", "ttclid", "Paid Social"),
    ("google", "display", "none", "", "gclid", "Display"),
    ("direct", "none", "none", "", "fbclid", "Organic Social"),
    ("facebook.com", "referral", "none", "facebook.com", "fbclid", "Organic Social"),
    ("fb-ads", "cpc", "none", "", "fbclid", "Paid Social"),
    ("newsletter", "email", "none", "", "fbclid", "Email"),
    # a source nobody knows, without a medium: the referrer tells
    ("spring-flyer", "none", "none", "bing.com", "", "Organic Search"),
    ("spring-flyer", "none", "none", "claude.ai", "", "AI Assistant"),
    ("spring-flyer", "none", "none", "", "", "Unassigned"),
)  # fmt: skip


def test_channels_follow_ga4(sample_warehouse):
    query = acquisition_macros().channels_of("origins")
    with contextlib.closing(connect(sample_warehouse.server)) as connection:
        connection.execute(
            "create temporary table cases "
            "(source text, medium text, campaign text, referrer_domain text, click_id text)"
        )
        with connection.cursor() as cursor:
            cursor.executemany("insert into cases values (%s, %s, %s, %s, %s)", [case[:5] for case in CASES])
        found = connection.execute(
            f"with origins as (select 'shop' as app_id, cases.* from cases), channels as ({query})"
            "select source, medium, campaign, referrer_domain, click_id, channel from channels"
        ).fetchall()
    assert len(set(CASES)) == len(CASES)
    assert sorted(found) == sorted(CASES)


def test_every_channel_is_in_a_case_or_needs_none(sample_warehouse):
    channels = {name for (name,) in sample_warehouse.query("select channel from staging.channels")}
    assert channels == {case[5] for case in CASES}
