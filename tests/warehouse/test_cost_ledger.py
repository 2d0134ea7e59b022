"""Law 5 on generated ledgers: no money twice, none lost, every breakdown adds up, however the records arrive."""

from __future__ import annotations

import json
from collections import defaultdict
from decimal import Decimal
from random import Random
from typing import Any

import jinja2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest.connection import connect
from orchestration import refresh
from tests.warehouse.conftest import Warehouse, assert_same, copied_project
from tests.warehouse.proving import AS_OF
from tests.warehouse.test_same_answer import split_into_loads

APPS = 200
RATES = {"USD": Decimal(1), "EUR": Decimal("1.0832"), "JPY": Decimal("0.006712")}
MODELS = ("gpt-4o", "claude-3-5-haiku")
TOLD_AS = {"gpt-4o": ("gpt-4o", "GPT-4o", "openai/gpt-4o", "gpt-4o-2024-08-06"), "claude-3-5-haiku": (MODELS[1],)}
MONTH = {"period_start": "2026-03-01T00:00:00Z", "period_end": "2026-04-01T00:00:00Z"}
WEEK = {"period_start": "2026-03-09T00:00:00Z", "period_end": "2026-03-16T00:00:00Z"}
OWNERS = (
    "user_id", "visitor_id", "team_id", "project_id", "workspace_id", "feature_id", "model", "provider", "app_id",
)  # fmt: skip
Record = dict[str, Any]


def in_own_month(number: int, record: Record) -> bytes:
    """The record in a month that no other app has: none is put right by what happens to another."""
    first, following = (f"{1995 + month // 12}-{month % 12 + 1:02d}" for month in (number, number + 1))
    return json.dumps(record).replace("2026-04", following).replace("2026-03", first).encode()


class Ledger:
    """One app's requests and cost lines, and what they must come to by the rules of docs/cost.md."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.app = f"app{number}"
        self.chance = Random(f"ledger/{number}")
        self.requests = [self._request(place) for place in range(self.chance.randint(0, 7))]
        self.lines = [self._line(place) for place in range(self.chance.randint(0, 9))]

    def _day(self) -> int:
        return self.chance.randint(8, 11)

    def _money(self) -> str:
        return self.chance.choice(("0", "0.0025", "0.01", "1.2345", "25.00", "9990.01", "0.000000123456"))

    def _owner(self) -> Record:
        named = {"teamId": "t1", "projectId": "p1", "workspaceId": "w1", "feature": "chat", "plan": "pro"}
        return {key: value for key, value in named.items() if self.chance.random() < 0.5}

    def _request(self, place: int) -> Record:
        record = {
            "requestId": f"{self.app}-r{place}",
            "appId": self.app,
            "userId": f"{self.app}-u{self.chance.randint(1, 3)}",
            "timestamp": f"2026-03-{self._day():02d}T{self.chance.randint(0, 23):02d}:00:00Z",
            "model": (model := self.chance.choice(MODELS)),
            "totalTokens": self.chance.randint(0, 900),
        } | self._owner()
        record["model"] = self.chance.choice(TOLD_AS[model])
        if self.chance.random() < 0.8:
            record["cost"] = self._money()
        return record

    def _line(self, place: int) -> Record:
        kind = self.chance.choice(("plain", "plain", "credit", "request", "request", "point", "month", "week"))
        record = {
            "costId": f"c{place}",
            "appId": self.app,
            "amount": self._money(),
            "currency": self.chance.choice((*RATES, "USD", "USD", "USD", "GBP")),
            "timestamp": f"2026-03-{self._day():02d}T12:00:00Z",
            "category": self.chance.choice(("platform", "embedding", "hosting", "odd")),
            "tags": {"a": "1", "b": "2"},
        }
        if kind == "plain":
            record |= self._owner() | self.chance.choice(({}, MONTH, {"anonymousId": f"{self.app}-a"}))
        elif kind == "credit":
            record |= {"amount": f"-{self._money()}", "model": self.chance.choice(MODELS)}
            record |= self.chance.choice(({}, MONTH))
        elif kind == "request":
            # one in some names a request that nobody tells
            record |= {"requestId": f"{self.app}-r{self.chance.randint(0, 9)}"}
            if self.chance.random() < 0.5:
                record["model"] = next(
                    (told["model"] for told in self.requests if told["requestId"] == record["requestId"]), MODELS[0]
                )
        else:
            record["model"] = self.chance.choice(TOLD_AS[self.chance.choice(MODELS)])
            record |= {"point": {}, "month": MONTH, "week": WEEK}[kind]
        return record

    def total(self) -> Decimal:
        """What the app has cost: US dollars, exact."""
        named, points, bills, rest = defaultdict(list), defaultdict(list), defaultdict(list), Decimal()
        for line in self.lines:
            usd = Decimal(line["amount"]) * RATES[line["currency"]] if line["currency"] in RATES else None
            model = bare(line.get("model"))
            if line["amount"].startswith("-") and Decimal(line["amount"]) < 0:
                rest += usd or 0
            elif "requestId" in line:
                named[line["requestId"]].append((usd, model, day_of(line)))
            elif model and "period_start" in line:
                bills[model, line["period_start"]].append(usd)
            elif model:
                points[model, day_of(line)].append(usd)
            else:
                rest += usd or 0
        told = defaultdict(Decimal)
        for request in self.requests:
            lines = [usd for usd, _, _ in named.pop(request["requestId"], [])]
            worth = sum(lines) if lines and None not in lines else Decimal(request.get("cost", 0))
            told[bare(request["model"]), day_of(request)] += worth
        for lines in named.values():
            if None in [usd for usd, _, _ in lines]:
                # of one request, and what it was billed is not known: nothing is counted, all of it is shown
                continue
            for usd, model, day in lines:
                told[model, day] += usd
        for key, lines in points.items():
            if None not in lines:
                told[key] = max(told[key], sum(lines))
        for model in MODELS:
            for start, days in ((WEEK["period_start"], range(9, 16)), (MONTH["period_start"], range(1, 32))):
                lines = bills.get((model, start))
                if lines and None not in lines:
                    for day in days:
                        told.pop((model, day), None)
                    told[model, days[0]] = sum(lines)
        return rest + sum(told.values())


def bare(model: str | None) -> str | None:
    return next((name for name, told in TOLD_AS.items() if model in told), None)


def day_of(record: Record) -> int:
    return int(record["timestamp"][8:10])


def lines_of(ledgers: list[Ledger]) -> dict[str, list[bytes]]:
    # an anonymous id turns out to be a user
    told = [
        (number, {"userId": "u", "anonymousId": f"app{number}-a", "timestamp": "2026-03-08T00:00:00Z"})
        for number in range(0, APPS, 2)
    ]
    return {
        "llm_requests": [in_own_month(ledger.number, record) for ledger in ledgers for record in ledger.requests],
        "costs": [in_own_month(ledger.number, record) for ledger in ledgers for record in ledger.lines],
        "identifies": [in_own_month(number, record) for number, record in told],
    }


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory):
    """A copy of the project with rates and rules of its own, that refreshes of this module build from."""
    with copied_project(tmp_path_factory.mktemp("ledger") / "project") as folder:
        rates = [f"{currency},1990-01-01,,{rate}" for currency, rate in RATES.items()]
        (folder / "seeds/currency_rates.csv").write_text(
            "\n".join(["currency,valid_from,valid_to,usd_per_unit", "EUR,1980-01-01,1990-01-01,9", *rates]) + "\n"
        )
        (folder / "seeds/cost_allocation_rules.csv").write_text(
            "category,service,driver,scope\nplatform,*,requests,team\nembedding,*,tokens,feature\nhosting,*,even,user\n"
        )
        yield folder


@pytest.fixture(scope="module")
def ledgers() -> list[Ledger]:
    return [Ledger(number) for number in range(APPS)]


@pytest.fixture(scope="module")
def built(project, make_warehouse, ledgers) -> Warehouse:
    warehouse = make_warehouse()
    for stream, lines in lines_of(ledgers).items():
        warehouse.load(stream, lines)
    warehouse.refresh(AS_OF)
    return warehouse


def test_every_app_costs_what_the_rules_say(built, ledgers):
    found = dict(built.query("select app_id, sum(billed_cost_usd) from marts.fct_cost_lines group by app_id"))
    expected = {ledger.app: ledger.total() for ledger in ledgers}
    differing = {
        app: (total, found.get(app)) for app, total in expected.items() if total != (found.get(app) or Decimal())
    }
    assert not differing, (len(differing), next(iter(differing.items())))
    assert sum(total != 0 for total in expected.values()) > APPS / 2


def test_every_breakdown_adds_up_to_the_ledger(built):
    days = "select cost_date, sum({}) from marts.{} {} group by 1 having sum({}) is not null order by 1"
    ledger = built.query(days.format("billed_cost_usd", "fct_cost_lines", "", "billed_cost_usd"))
    assert len(ledger) > APPS
    others = ["agg_cost_daily", *(f"agg_cost_by_{owner.removesuffix('_id')}" for owner in OWNERS), "agg_unit_costs"]
    for relation in others:
        assert built.query(days.format("cost_usd", relation, "", "cost_usd")) == ledger, relation
    focus = '(select ("ChargePeriodStart" at time zone \'UTC\')::date as cost_date, "BilledCost" as cost'
    assert built.query(days.format("cost", "focus_cost_lines", "", "cost").replace(
        "marts.focus_cost_lines", f"{focus} from marts.focus_cost_lines) as focus"
    )) == ledger  # fmt: skip
    keys = "select count(*), count(distinct cost_line_key) from marts.fct_cost_lines"
    assert len(set(built.query(keys)[0])) == 1


def test_every_shared_line_is_allocated_to_the_last_digit(built):
    assert built.query(
        """
        select lines.cost_line_key, lines.billed_cost_usd, allocated.usd
        from (select * from marts.fct_cost_lines where source <> 'llm_request') as lines
        full join (
            select cost_line_key, sum(allocated_cost_usd) as usd from marts.fct_cost_allocation group by 1
        ) as allocated using (cost_line_key)
        where lines.billed_cost_usd is distinct from allocated.usd
        """
    ) == []  # fmt: skip
    drivers = {driver for (driver,) in built.query("select distinct driver from marts.fct_cost_allocation")}
    assert drivers == {"direct", "requests", "tokens", "even", "none"}
    # What requests without a team drove is nobody's, and shown.
    assert built.query(
        "select count(*) > 0 from marts.fct_cost_allocation where scope_value = 'unallocated' and driver = 'requests'"
    ) == [(True,)]  # fmt: skip


def test_a_currency_without_a_rate_is_shown_not_guessed(built, ledgers):
    pounds = built.query("select count(*), count(billed_cost_usd) from marts.fct_cost_lines where currency = 'GBP'")
    assert pounds[0][0] > APPS / 20
    assert pounds[0][1] == 0
    assert built.query("select sum(unconverted_lines) > 0 from marts.agg_cost_daily") == [(True,)]


def test_ledgers_that_arrive_in_pieces_are_the_same(built, project, make_warehouse, ledgers):
    piecewise = make_warehouse()
    for part in split_into_loads(lines_of(ledgers), loads=3, seed=39):
        for stream, lines in part:
            piecewise.load(stream, lines)
        piecewise.refresh(AS_OF)
    assert_same(built.contents(), piecewise.contents())


# Only this macro: dbt's `do` is no part of plain Jinja.
SOURCE = (refresh.PROJECT_FOLDER / "macros/costs.sql").read_text()
MACROS = jinja2.Environment().from_string(
    "{% macro shared_out" + SOURCE.split("{% macro shared_out")[1].split("{%- endmacro %}")[0] + "{%- endmacro %}"
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    groups=st.lists(
        st.tuples(
            st.decimals(-(10**9), 10**9, places=6, allow_nan=False),
            st.lists(st.integers(0, 10**7), min_size=1, max_size=30).filter(any),
        ),
        min_size=1,
        max_size=20,
    )
)
def test_shares_add_up_and_are_fair(server, groups):
    rows = [
        (number, amount, weight, f"n{place:02d}")
        for number, (amount, weights) in enumerate(groups)
        for place, weight in enumerate(weights)
    ]
    query = MACROS.module.shared_out("parts", "amount", "weight", "each", "name", "share")
    values = ", ".join(f"({number}, {amount}::numeric, {weight}, '{name}')" for number, amount, weight, name in rows)
    with connect(server) as connection:
        shared = connection.execute(
            f"with parts (each, amount, weight, name) as (values {values})"
            f"select each, weight, name, share from ({query}) as shared"
        ).fetchall()
    for number, (amount, weights) in enumerate(groups):
        shares = {name: (share, weight) for each, weight, name, share in shared if each == number}
        assert sum(share for share, _ in shares.values()) == amount
        largest = min(shares, key=lambda name: (-shares[name][1], name))
        for name, (share, weight) in shares.items():
            off = abs(share * sum(weights) - amount * weight)
            assert off < sum(weights) * Decimal("1e-10") * (len(weights) if name == largest else 1)
