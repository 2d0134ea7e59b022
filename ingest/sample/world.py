"""The company whose data the sample is: its apps, models, people, pages and working hours."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from random import Random
from typing import TypeVar

from ingest.sample.clock import DAY, HOUR, weekday_of

DEFAULT_APP = "default"
WIDGET_APP = "5e3c7f3a-0d1b-4a0d-8b9c-000000000010"
FUNNEL_APP = "funnel_launch"
APPS = (DEFAULT_APP, WIDGET_APP, FUNNEL_APP)

T = TypeVar("T")

HOURS = (2, 1, 1, 1, 1, 2, 4, 8, 14, 18, 18, 16, 13, 15, 18, 18, 16, 13, 10, 8, 7, 6, 5, 3)
"""Relative traffic of the hours of a day, UTC; busy from 8 to 18."""

WEEKDAYS = (1.0, 1.02, 1.0, 0.98, 0.9, 0.35, 0.3)


@dataclass(frozen=True)
class Model:
    """A model and its list price, US dollars per million tokens; None: nobody knows one."""

    model: str
    name: str
    provider: str
    input_price: Decimal | None
    output_price: Decimal | None
    cached_price: Decimal | None
    weight: int

    def cost(self, prompt: int, completion: int, cached: int = 0) -> Decimal | None:
        """Exact US dollars; `cached` prompt tokens are part of `prompt`."""
        if self.input_price is None or self.output_price is None or self.cached_price is None:
            return None
        fresh = prompt - cached
        total = fresh * self.input_price + cached * self.cached_price + completion * self.output_price
        return total / 1_000_000


def _model(model: str, name: str, provider: str, prices: tuple[str, str, str] | None, weight: int) -> Model:
    known = [Decimal(price) for price in prices] if prices else [None, None, None]
    return Model(model, name, provider, known[0], known[1], known[2], weight)


MODELS = (
    _model("gpt-4o", "GPT-4o", "openai", ("2.50", "10.00", "1.25"), 28),
    _model("gpt-4o-mini", "GPT-4o mini", "openai", ("0.15", "0.60", "0.075"), 26),
    _model("claude-3-5-sonnet-20241022", "Claude 3.5 Sonnet", "anthropic", ("3.00", "15.00", "0.30"), 18),
    _model("claude-3-5-haiku-20241022", "Claude 3.5 Haiku", "anthropic", ("0.80", "4.00", "0.08"), 14),
    _model("gemini-1.5-flash", "Gemini 1.5 Flash", "google", ("0.075", "0.30", "0.01875"), 11),
    _model("gpt-4-turbo", "GPT-4 Turbo", "openai", ("10.00", "30.00", "10.00"), 3),
)
EXPENSIVE_MODEL = MODELS[5]
IN_HOUSE_MODEL = _model("in-house-13b", "In-house 13B", "in-house", None, 0)

FEATURES = ("code-generation", "document-summary", "smart-search", "email-draft", "smart-router", "report-builder")
MARKETING_PAGES = ("/", "/pricing", "/features", "/blog/why", "/docs", "/customers", "/security", "/changelog")
PRODUCT_PAGES = ("/dashboard", "/reports", "/settings", "/projects", "/team", "/billing", "/templates", "/search")
INTERACTIONS = ("btn_primary", "nav_workspace", "btn_export", "menu_more", "filter_applied", "btn_share")
CAMPAIGNS = (
    ("google", "cpc", "spring"),
    ("google", "organic", None),
    ("facebook", "social", "retargeting"),
    ("newsletter", "email", "march_news"),
    ("linkedin", "social", "b2b_q1"),
    (None, None, None),
    (None, None, None),
)
USER_AGENTS = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 "
    "Safari/605.1.15",
    "Mozilla/5.0 (X11; Linux x86_64; rv:131.0) Gecko/20100101 Firefox/131.0",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 "
    "Mobile/15E148 Safari/604.1",
    "Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Mobile "
    "Safari/537.36",
)
SCREENS = ((1920, 1080), (1440, 900), (2560, 1440), (390, 844), (412, 915))
REFERRERS = ("https://google.com/search?q=ai+assistant", "https://news.example/launch", "https://bing.com/", None)
PLANS = ("free", "free", "pro", "pro", "team", "enterprise")
INDUSTRIES = ("software", "retail", "finance", "health", "education")
ROLES = ("admin", "member", "member", "member", "viewer")
FIRST_NAMES = ("Ada", "Noor", "Kenji", "Lucía", "Marek", "Zoë", "Ravi", "Ines", "Tom", "Amara")
LAST_NAMES = ("Okafor", "Silva", "Tanaka", "Novak", "García", "Larsen", "Mehta", "Dubois", "Smith", "Diallo")


@dataclass(frozen=True)
class Workspace:
    """A customer's workspace."""

    workspace_id: str
    org_id: str
    plan: str
    size: int
    industry: str
    teams: tuple[str, ...]
    projects: tuple[str, ...]


@dataclass
class Person:
    """Somebody who uses the web app; without `user_id` not signed up yet."""

    index: int
    user_id: str | None
    workspace: Workspace
    name: str
    role: str
    team: str
    project: str
    variant: str
    device: int
    jwt: str | None = None
    busy_until: int = 0
    features: tuple[str, ...] = field(default=())

    @property
    def email(self) -> str:
        """An address of a domain nobody can own."""
        return f"user{self.index}@example.com"

    def metadata(self, signed_in: bool) -> dict[str, object]:
        """What the provider is told about a signed-in person; of others it knows the variant only."""
        if not signed_in:
            return {"experiment_variant": self.variant, "feature_beta_enabled": False}
        return {
            "workspace_id": self.workspace.workspace_id,
            "org_id": self.workspace.org_id,
            "team_id": self.team,
            "project_id": self.project,
            "plan": self.workspace.plan,
            "workspace_size": self.workspace.size,
            "industry": self.workspace.industry,
            "user_role": self.role,
            "experiment_variant": self.variant,
            "feature_beta_enabled": self.index % 3 == 0,
        }


def new_id(rng: Random) -> str:
    """A random UUID, version 4."""
    return str(uuid.UUID(int=rng.getrandbits(128), version=4))


def pick(rng: Random, items: Sequence[T]) -> T:
    """One of them, each as likely."""
    return items[int(rng.random() * len(items))]


def between(rng: Random, low: int, high: int) -> int:
    """A whole number from `low` to `high`, small ones likelier."""
    return low + int((high - low + 1) * rng.random() * rng.random())


def pick_model(rng: Random) -> Model:
    """A model, by how much the product uses it."""
    point = rng.random() * sum(model.weight for model in MODELS)
    for model in MODELS:
        point -= model.weight
        if point < 0:
            return model
    return MODELS[0]


def make_people(rng: Random, count: int) -> list[Person]:
    """`count` people: seven of ten signed up long ago, in workspaces of one to sixty seats."""
    workspaces = [
        Workspace(
            workspace_id=f"ws_{number:04d}",
            org_id=f"org_{number // 3:04d}",
            plan=pick(rng, PLANS),
            size=1 + between(rng, 0, 59),
            industry=pick(rng, INDUSTRIES),
            teams=(f"t_{number:04d}_core", f"t_{number:04d}_ops"),
            projects=(f"p_{number:04d}_a", f"p_{number:04d}_b", f"p_{number:04d}_c"),
        )
        for number in range(max(3, count // 8))
    ]
    people = []
    for index in range(count):
        workspace = pick(rng, workspaces)
        signed_up = index < max(1, count * 7 // 10)
        people.append(
            Person(
                index=index,
                user_id=new_id(rng) if signed_up else None,
                workspace=workspace,
                name=f"{pick(rng, FIRST_NAMES)} {pick(rng, LAST_NAMES)}",
                role=pick(rng, ROLES),
                team=pick(rng, workspace.teams),
                project=pick(rng, workspace.projects),
                variant=pick(rng, ("control", "b")),
                device=int(rng.random() * len(USER_AGENTS)),
                jwt=new_id(rng) if signed_up and rng.random() < 0.85 else None,
                features=(pick(rng, FEATURES), pick(rng, FEATURES)),
            )
        )
    return people


def arrivals(rng: Random, day_at: int, per_weekday: float) -> list[int]:
    """Times of arrival on one day, in order, following the week and the hours.

    The number in each hour is its expected value, rounded up or down by chance: steady enough that the
    same hours of four earlier weeks tell what to expect.
    """
    expected = per_weekday * WEEKDAYS[weekday_of(day_at)] / sum(HOURS)
    times = []
    for hour, weight in enumerate(HOURS):
        mean = expected * weight * (0.92 + 0.16 * rng.random())
        for _ in range(int(mean + rng.random())):
            times.append(day_at + hour * HOUR + int(rng.random() * HOUR))
    return [at for at in sorted(times) if at < day_at + DAY]
