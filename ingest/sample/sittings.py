"""The kinds of sittings at the web app, ordinary and odd: each is a short script played on a `WebVisit`."""

from decimal import Decimal

from ingest.sample.clock import HOUR, MINUTE
from ingest.sample.context import Sample
from ingest.sample.tracking import subscription_started, track_feature
from ingest.sample.web import CutShortError, WebVisit
from ingest.sample.world import MARKETING_PAGES, PRODUCT_PAGES, Person, between, new_id, pick


def visit(sample: Sample, person: Person, at: int, kind: str) -> None:
    """Play one sitting of the given kind, one of `KINDS`, from opening the page to closing it."""
    try:
        SCRIPTS[kind](sample, person, at)
    except CutShortError as cut:
        cut.sitting.close()


def _signed_in(sample: Sample, person: Person, at: int, page: str = "/dashboard") -> WebVisit:
    """A sitting of somebody whose sign-in of an earlier day still holds."""
    person.user_id = person.user_id or new_id(sample.rng)
    if person.jwt:
        sample.truth.trap("later_visit_under_old_session")
    person.jwt = person.jwt or new_id(sample.rng)
    sitting = WebVisit(sample, person, at, signed_in=True)
    sitting.open(page)
    return sitting


def _anonymous(sample: Sample, person: Person, at: int, page: str | None = None) -> WebVisit:
    sitting = WebVisit(sample, person, at, signed_in=False)
    sitting.open(page or pick(sample.rng, MARKETING_PAGES))
    return sitting


def _work(sitting: WebVisit, pages: int, messages: int) -> None:
    sample = sitting.sample
    sitting.browse(PRODUCT_PAGES, pages)
    if messages:
        sitting.chat(messages)
        sitting.browse(PRODUCT_PAGES, 1)
    if sample.chance(0.12):
        sitting.wait(1, 10)
        sitting.reach(pick(sample.rng, ("report_created", "workspace_created", "file_exported")))
    if sample.chance(0.2):
        name, value, good = pick(sample.rng, (("LCP", 2100, True), ("INP", 260, False), ("CLS", 0.04, True)))
        metadata = {"name": name, "value": value, "delta": value}
        sitting.now += 150
        sitting.track("web_vitals", "performance", {**metadata, "rating": "good" if good else "poor"}, True)
    if sample.chance(0.25) and sitting.tab.user_id:
        feature = pick(sample.rng, sitting.person.features)
        sitting.now += 90
        track_feature(sample, sitting.now, sitting.tab.user_id, feature, "used" if sample.chance(0.5) else None)


def _plain(sample: Sample, person: Person, at: int) -> None:
    sitting = _signed_in(sample, person, at, pick(sample.rng, ("/dashboard", "/dashboard", "/reports", "/chat")))
    messages = between(sample.rng, 1, 5) if sample.chance(0.45) else 0
    _work(sitting, between(sample.rng, 1, 9), messages)
    if sample.chance(0.02) and sitting.jwt:
        sitting.wait(2, 10)
        subscription_started(sample, sitting.now, sitting.jwt[1], sitting.jwt[0], Decimal("29.90"))
    sitting.close()


def _look_around(sample: Sample, person: Person, at: int) -> None:
    sitting = _anonymous(sample, person, at)
    if not sample.chance(0.35):
        sitting.browse(MARKETING_PAGES, between(sample.rng, 1, 7))
        if sample.chance(0.2):
            sitting.now += 400
            sitting.track("cta_click", "marketing", {"ctaId": "hero", "ctaText": "Start free"}, True)
    sitting.close()


def _sign_in(sample: Sample, person: Person, at: int) -> None:
    sitting = _anonymous(sample, person, at)
    sitting.browse(MARKETING_PAGES, between(sample.rng, 1, 4))
    if sample.chance(0.2):
        sitting.chat(1)
        sample.truth.trap("anonymous_chat_before_sign_in")
    sitting.wait(3, 20)
    sitting.go("/login")
    sitting.wait(5, 20)
    sitting.sign_in()
    _work(sitting, between(sample.rng, 2, 6), between(sample.rng, 0, 2))
    sitting.close()


def _sign_in_unseen(sample: Sample, person: Person, at: int) -> None:
    sitting = _anonymous(sample, person, at, "/login")
    sitting.wait(3, 12)
    sitting.sign_in(seen=False)
    _work(sitting, 3, 0)
    sitting.close()


def _sign_in_after_reload(sample: Sample, person: Person, at: int) -> None:
    sitting = _anonymous(sample, person, at)
    sitting.browse(MARKETING_PAGES, 6)
    sitting.wait(2, 8)
    sitting.reload()
    sitting.browse(MARKETING_PAGES, 2)
    sitting.sign_in()
    sample.truth.trap("sign_in_with_earlier_anonymous_batch")
    _work(sitting, 4, 1)
    sitting.close()


def _redirect(sample: Sample, person: Person, at: int) -> None:
    sitting = _anonymous(sample, person, at)
    sitting.browse(MARKETING_PAGES, 2)
    sitting.wait(3, 8)
    sitting.sign_in_by_redirect()
    _work(sitting, 4, 0)
    sitting.close()


def _sign_out(sample: Sample, person: Person, at: int) -> None:
    sitting = _signed_in(sample, person, at)
    _work(sitting, between(sample.rng, 3, 7), 1)
    sitting.wait(2, 20)
    sitting.sign_out()
    sitting.browse(MARKETING_PAGES, between(sample.rng, 0, 3))
    sitting.close()


def _reload_later_page(sample: Sample, person: Person, at: int) -> None:
    sitting = _signed_in(sample, person, at)
    sitting.browse(PRODUCT_PAGES, 6)
    sitting.wait(2, 30)
    sitting.reload()
    _work(sitting, 4, 1)
    sitting.close()


def _reload_last_flushed_page(sample: Sample, person: Person, at: int) -> None:
    sitting = _signed_in(sample, person, at)
    sitting.browse(PRODUCT_PAGES, 4)
    sitting.wait(2, 30)
    sitting.reload()
    _work(sitting, 6, 0)
    sitting.wait(2, 30)
    sitting.reload()
    sitting.browse(PRODUCT_PAGES, 2)
    sitting.close()


def _reload_unsaved(sample: Sample, person: Person, at: int) -> None:
    sitting = _anonymous(sample, person, at)
    sitting.browse(MARKETING_PAGES, 2, high=40)
    sitting.wait(2, 20)
    sitting.reload()
    sitting.browse(MARKETING_PAGES, 2)
    sitting.close()


def _reload_one_page_with_goal(sample: Sample, person: Person, at: int) -> None:
    sitting = _signed_in(sample, person, at, "/chat")
    sitting.wait(5, 20)
    sitting.reach("first_chat_opened")
    sitting.wait(2, 20)
    sitting.reload()
    sitting.browse(PRODUCT_PAGES, 3)
    sitting.close()


def _two_tabs(sample: Sample, person: Person, at: int) -> None:
    sitting = _signed_in(sample, person, at)
    sitting.browse(PRODUCT_PAGES, 3)
    sitting.wait(1, 5)
    sitting.open("/reports")
    sample.truth.trap("two_tabs")
    for tab in (0, 1, 0):
        sitting.browse(PRODUCT_PAGES, 2)
        sitting.wait(1, 5)
        sitting.switch(tab)
    sitting.chat(2)
    sitting.close()


def _two_tabs_sign_in(sample: Sample, person: Person, at: int) -> None:
    sitting = _anonymous(sample, person, at)
    sitting.browse(MARKETING_PAGES, 2)
    sitting.wait(1, 5)
    sitting.open("/pricing")
    sample.truth.trap("two_anonymous_tabs_sign_in")
    sitting.browse(MARKETING_PAGES, 2)
    sitting.wait(2, 5)
    sitting.sign_in()
    sitting.browse(PRODUCT_PAGES, 3)
    sitting.wait(2, 5)
    sitting.switch(0)
    sitting.browse(PRODUCT_PAGES, 2)
    sitting.close()


def _marathon(sample: Sample, person: Person, at: int) -> None:
    sitting = _signed_in(sample, person, at)
    sitting.browse(PRODUCT_PAGES, 30, low=4, high=45)
    sitting.chat(2)
    sitting.browse(PRODUCT_PAGES, 24 if sample.chance(0.7) else 76, low=4, high=45)
    sitting.chat(1)
    sitting.browse(PRODUCT_PAGES, 7, high=30)
    sitting.wait(2, 9)
    sitting.reload()
    sitting.browse(PRODUCT_PAGES, 2)
    sitting.close()


def _many_errors(sample: Sample, person: Person, at: int) -> None:
    sitting = _signed_in(sample, person, at)
    for errors in (14, 12, 9):
        sitting.browse(PRODUCT_PAGES, 2)
        for _ in range(errors):
            sitting.wait(0.2, 6)
            sitting.fail()
        sitting.wait(1, 5)
        sitting.reach("error_report_sent")
    sitting.close()


def _long_chat(sample: Sample, person: Person, at: int) -> None:
    sitting = _signed_in(sample, person, at)
    sitting.chat(13, stops=0.15)
    sitting.browse(PRODUCT_PAGES, 1)
    sitting.close()


def _idle_return(sample: Sample, person: Person, at: int) -> None:
    sitting = _signed_in(sample, person, at)
    sitting.browse(PRODUCT_PAGES, 4)
    sitting.idle(35 * MINUTE + int(90 * MINUTE * sample.rng.random()))
    sitting.browse(PRODUCT_PAGES, 3)
    sitting.close()


def _idle_then_sign_in(sample: Sample, person: Person, at: int) -> None:
    sitting = _anonymous(sample, person, at)
    sitting.browse(MARKETING_PAGES, 3)
    sitting.idle(40 * MINUTE)
    sitting.browse(MARKETING_PAGES, 1)
    sitting.wait(3, 9)
    sitting.sign_in()
    sample.truth.trap("sign_in_after_an_earlier_visit")
    sitting.browse(PRODUCT_PAGES, 3)
    sitting.close()


def _gap(sample: Sample, person: Person, at: int, gap: int, name: str) -> None:
    sitting = _signed_in(sample, person, at)
    for page in ("/reports", "/team"):
        sitting.wait(5, 30)
        sitting.go(page)
    sitting.now += gap
    sitting.go("/billing")
    sample.truth.trap(name)
    sitting.wait(5, 30)
    sitting.go("/search")
    sitting.close()


def _gap_exact(sample: Sample, person: Person, at: int) -> None:
    _gap(sample, person, at, 30 * MINUTE, "gap_of_exactly_30_minutes")


def _gap_short(sample: Sample, person: Person, at: int) -> None:
    _gap(sample, person, at, 30 * MINUTE - 1, "gap_just_under_30_minutes")


def _overnight(sample: Sample, person: Person, at: int) -> None:
    sitting = _anonymous(sample, person, at)
    sitting.browse(MARKETING_PAGES, 3)
    sitting.idle(int((10 + 4 * sample.rng.random()) * HOUR))
    sample.truth.trap("tab_left_open_overnight")
    sitting.browse(MARKETING_PAGES, 1)
    sitting.wait(3, 9)
    sitting.sign_in()
    sitting.browse(PRODUCT_PAGES, 2)
    sitting.close()


SCRIPTS = {
    "plain": _plain,
    "look_around": _look_around,
    "sign_in": _sign_in,
    "reload_later_page": _reload_later_page,
    "two_tabs": _two_tabs,
    "marathon": _marathon,
    "sign_out": _sign_out,
    "idle_return": _idle_return,
    "reload_unsaved": _reload_unsaved,
    "sign_in_after_reload": _sign_in_after_reload,
    "many_errors": _many_errors,
    "long_chat": _long_chat,
    "reload_last_flushed_page": _reload_last_flushed_page,
    "two_tabs_sign_in": _two_tabs_sign_in,
    "redirect": _redirect,
    "reload_one_page_with_goal": _reload_one_page_with_goal,
    "gap_exact": _gap_exact,
    "gap_short": _gap_short,
    "idle_then_sign_in": _idle_then_sign_in,
    "sign_in_unseen": _sign_in_unseen,
    "overnight": _overnight,
}
SPECIAL_KINDS = tuple(kind for kind in SCRIPTS if kind not in ("plain", "look_around", "sign_in"))
LONG_KINDS = {
    "idle_return": 5 * HOUR,
    "idle_then_sign_in": 5 * HOUR,
    "overnight": 20 * HOUR,
    "gap_exact": 2 * HOUR,
    "gap_short": 2 * HOUR,
}
"""How long before the end of the sample a sitting of these kinds must begin at the latest."""
