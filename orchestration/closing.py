"""Closing days: what of them goes to `history`, and which rows of raw an open visit still stands on.

Every statement runs in one transaction of `close_days`, on relations of production that a refresh has just completed.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import psycopg

from orchestration.refresh import project_variables

# The open visits that began before the horizon. Of a group's last one the run may go on: the tail.
CLOSING = """
create temporary table closing on commit drop as
select
    visits.session_group,
    visits.session_key,
    visits.started_at,
    visits.ended_at,
    visits.user_id,
    visits.anonymous_id,
    visits.ended_at > %(horizon)s - %(gap)s
    and visits.started_at = max(visits.started_at) over (partition by visits.session_group) as is_tail
from marts.fct_sessions as sessions
inner join intermediate.int_visits as visits
    on sessions.session_group = visits.session_group and sessions.session_key = visits.session_key
where sessions.session_date < %(day)s and sessions.session_date >= %(first_day)s
"""

# A session group of raw, the group that owns its visits, and from when on that is open.
GROUPS = """
create temporary table closing_groups on commit drop as
with recursive owners as (
    select session_group, coalesce(min(started_at) filter (where is_tail), %(horizon)s) as open_from
    from closing
    group by session_group
),

closed_groups as (
    select session_group from owners
    union
    select merged.session_group
    from owners
    inner join intermediate.int_merged_groups as merged on owners.session_group = merged.merged_group
    union
    select session_group from raw.session_batches
    where carried and received_at between %(carried_from)s and %(carried_to)s
    union
    select session_group from raw.events
    where carried and received_at between %(carried_from)s and %(carried_to)s
    union
    select session_group from raw.llm_requests
    where carried and received_at between %(carried_from)s and %(carried_to)s
),

-- with those that tell more of a batch of theirs: somebody signed in or out in the middle of it
groups as (
    select session_group from closed_groups
    union
    select theirs.session_group
    from groups
    inner join ops.group_links as ours on ours.kind = 'batch' and groups.session_group = ours.session_group
    inner join ops.group_links as theirs on theirs.kind = 'batch' and ours.key = theirs.key
)

select
    groups.session_group,
    coalesce(merged.merged_group, groups.session_group) as owner_group,
    coalesce(owners.open_from, %(horizon)s) as open_from
from groups
left join intermediate.int_merged_groups as merged on groups.session_group = merged.session_group
left join owners on coalesce(merged.merged_group, groups.session_group) = owners.session_group
"""

# Partitions of other days than these are neither planned nor locked nor read.
RECEIVED = """
select min(received_date)::timestamp at time zone 'UTC', (max(received_date) + 1)::timestamp at time zone 'UTC'
from ops.group_days where session_group in (select session_group from closing_groups)
"""

VISITS = """
insert into history.closed_visits
select
    closing.session_group, closing.session_key, closing.started_at, closing.ended_at, closing.user_id,
    closing.anonymous_id, sessions.app_id,
    to_jsonb(sessions) - array[
        'session_group', 'session_key', 'started_at', 'ended_at', 'user_id', 'anonymous_id', 'app_id', 'visitor_id'
    ]
from closing
inner join marts.fct_sessions as sessions
    on closing.session_group = sessions.session_group and closing.session_key = sessions.session_key
where not closing.is_tail
"""

COUNTERS = """
insert into history.closed_counters
select counters.session_group, session_key, counter, by_events, by_increments, session_total, amount
from marts.agg_session_counters as counters
inner join closing using (session_group, session_key)
where not closing.is_tail
"""

REQUESTS = """
insert into history.closed_requests
select
    requests.session_group, requests.request_key, facts.session_key, requests.occurred_at,
    (to_jsonb(requests) - array['session_group', 'request_key', 'closed_session_key'])
    || jsonb_build_object(
        'app_id', facts.app_id, 'workspace_id', facts.workspace_id, 'project_id', facts.project_id,
        'team_id', facts.team_id, 'plan', facts.plan,
        -- what a closed day cost stands, whatever is found out about prices later
        'priced', jsonb_build_object(
            'price_provider', facts.price_provider, 'price_model', facts.price_model,
            'price_variant', facts.price_variant, 'price_version', facts.price_version,
            'uncached_input_tokens', facts.uncached_input_tokens, 'cache_read_tokens', facts.cache_read_tokens,
            'cache_write_tokens', facts.cache_write_tokens, 'output_tokens', facts.output_tokens,
            'computed_cost_usd', facts.computed_cost_usd, 'list_cost_usd', facts.list_cost_usd
        )
    )
from closing
inner join marts.fct_llm_requests as facts
    on closing.session_group = facts.session_group and closing.session_key = facts.session_key
inner join intermediate.int_llm_requests as requests
    on facts.session_group = requests.session_group and facts.request_key = requests.request_key
where not closing.is_tail
"""

CONVERSIONS = """
insert into history.closed_conversions
select
    facts.session_group, facts.conversion_id, facts.session_key, facts.goal_name, facts.told_by, facts.reached_at,
    facts.value, facts.currency, facts.value_usd
from closing
inner join marts.fct_conversions as facts
    on closing.session_group = facts.session_group and closing.session_key = facts.session_key
where not closing.is_tail
"""

CAMPAIGN_EVENTS = """
insert into history.closed_campaign_events
select
    counted.session_group, counted.session_key, counted.event_date, counted.source, counted.medium, counted.campaign,
    counted.measure, counted.events, counted.value_usd
from closing
inner join marts.agg_session_campaigns as counted
    on closing.session_group = counted.session_group and closing.session_key = counted.session_key
where not closing.is_tail
"""

# Classes that are kept longer than the days are open: their events go on in a mart of their own.
EVENTS = """
insert into history.closed_events
select
    facts.session_group, facts.event_id, facts.session_key, facts.retention_class, facts.occurred_at,
    (to_jsonb(facts) - array[
        'session_group', 'event_id', 'session_key', 'visitor_id', 'retention_class', 'occurred_at'
    ])
    -- a user that only the visit tells is the visit's, whoever that turns out to be
    || jsonb_build_object('user_id', nullif(facts.user_id, sessions.user_id))
from closing
inner join marts.fct_events as facts
    on closing.session_group = facts.session_group and closing.session_key = facts.session_key
inner join marts.fct_sessions as sessions
    on closing.session_group = sessions.session_group and closing.session_key = sessions.session_key
where not closing.is_tail and facts.retention_class in ('audit', 'security')
on conflict do nothing
"""

MERGES = """
insert into history.closed_merges
select merged.session_group, merged_group, anonymous_id, user_id, signed_in_at, batch_id
from intermediate.int_merged_groups as merged
where session_group in (select session_group from closing_groups) and signed_in_at < %(horizon)s
on conflict do nothing
"""

# Of all that is known of an anonymous id in closed days only the changes of user are news.
EDGES = """
insert into history.closed_edges
select session_group, anonymous_id, user_id, signed_in_at, evidence
from (
    select *, lag(user_id) over (
        partition by anonymous_id order by signed_in_at, user_id, evidence, session_group
    ) as user_before
    from intermediate.int_identity_edges
    where signed_in_at < %(horizon)s and anonymous_id in (
        select anonymous_id from intermediate.int_identity_edges
        where session_group in (select session_group from closing_groups)
    )
) as ordered
where user_before is distinct from user_id
on conflict do nothing
"""

IDENTITIES = """
insert into history.closed_identities
select session_group, anonymous_id, user_id, min(at)
from (
    select session_group, anonymous_id, user_id, occurred_at as at
    from staging.stg_events
    where session_id is not null and received_at >= %(first_received)s and received_at < %(received_by)s
    union all
    select session_group, anonymous_id, user_id, occurred_at
    from staging.stg_llm_requests
    where session_id is not null and record_type = 'request'
        and received_at >= %(first_received)s and received_at < %(received_by)s
    union all
    select session_group, anonymous_id, user_id, started_at
    from intermediate.int_batch_snapshots
) as told
where session_group in (select session_group from closing_groups) and at < %(horizon)s
    and coalesce(anonymous_id, user_id) is not null
group by session_group, anonymous_id, user_id
on conflict do nothing
"""

METRIC_VALUES = """
insert into history.closed_metric_values (
    metric, app_id, scope, scope_value, bucket_at, bucket_date, metric_value
)
select
    metric, app_id, scope, scope_value, bucket_at, bucket_date,
    to_jsonb(measured) - array['metric', 'app_id', 'scope', 'scope_value', 'bucket_at', 'bucket_date']
from marts.agg_metric_values as measured
where bucket_date < %(day)s and bucket_date >= %(first_day)s
on conflict do nothing
"""

EVENT_DAYS = """
insert into history.closed_event_days
select
    event_date, app_id, event_name, to_jsonb(counted) - array['event_date', 'app_id', 'event_name']
from marts.agg_event_daily as counted
where event_date < %(day)s and event_date >= %(first_day)s
on conflict do nothing
"""

# A run is as long as no gap is between its visits; where an earlier purge met it, it began earlier still.
TAILS = """
create temporary table tails on commit drop as
with visits as (
    select
        session_group, started_at, ended_at,
        started_at - lag(ended_at) over by_start >= %(gap)s as follows_gap
    from intermediate.int_sessions
    where session_group in (select session_group from closing where is_tail) and started_at < %(horizon)s
    window by_start as (partition by session_group order by started_at)
),

runs as (
    select *, count(*) filter (where follows_gap) over (partition by session_group order by started_at) as run_number
    from visits
),

starts as (
    select
        runs.session_group, runs.started_at, runs.ended_at,
        least(
            min(runs.started_at) over in_run, min(tails.run_started_at) over in_run
        ) as run_started_at
    from runs
    left join history.session_tails as tails
        on runs.session_group = tails.session_group and runs.started_at = tails.visit_started_at
    window in_run as (partition by runs.session_group, runs.run_number)
)

select starts.session_group, starts.run_started_at, starts.started_at, starts.ended_at
from starts
inner join closing
    on starts.session_group = closing.session_group and starts.started_at = closing.started_at and closing.is_tail
"""

# Batches that an open visit still stands on: what any batch of their lineage tells is of an open time.
CARRIED_BATCHES = """
create temporary table carried_batches on commit drop as
with recursive batches as (
    select batch_id, parent_batch_id, started_at, session_group from intermediate.int_batches
    where session_group in (select session_group from closing_groups)
        or session_group in (select owner_group from closing_groups)
),

times as (
    select batch_id, session_group, seen_at as at from intermediate.int_batch_snapshots
    union all
    select batch_id, session_group, viewed_at from intermediate.int_batch_pages
    union all
    select batch_id, session_group, occurred_at from intermediate.int_batch_entries
    union all
    select batch_id, session_group, value::timestamptz from intermediate.int_batch_values where kind = 'goal'
),

open_batches as (
    select batch_id from batches where started_at >= %(horizon)s
    union
    select times.batch_id
    from times
    inner join closing_groups on times.session_group = closing_groups.session_group
    where times.at >= closing_groups.open_from
),

lineages as (
    select batch_id from open_batches
    union
    select case when lineages.batch_id = batches.batch_id then batches.parent_batch_id else batches.batch_id end
    from lineages
    inner join batches on lineages.batch_id in (batches.batch_id, batches.parent_batch_id)
    where batches.parent_batch_id is not null
)

select batch_id from lineages
"""

# The same id told in a closed and in an open day: it counts where it was told first.
TOLD_AGAIN = """
create temporary table told_again on commit drop as
select groups.session_group, again.event_id
from (
    select groups.owner_group, sent.event_id
    from raw.events as sent
    inner join closing_groups as groups using (session_group)
    where sent.received_at >= %(first_received)s and sent.received_at < %(received_by)s
    group by groups.owner_group, sent.event_id
    having min(sent.occurred_at) < min(groups.open_from) and max(sent.occurred_at) >= min(groups.open_from)
) as again
inner join closing_groups as groups on again.owner_group = groups.owner_group
"""
ASKED_AGAIN = """
create temporary table asked_again on commit drop as
with closing_ids as (
    select request_id as id from raw.llm_requests inner join closing_groups using (session_group)
    where request_id is not null
    union
    select message_id from raw.llm_requests inner join closing_groups using (session_group)
    where message_id is not null
),

told as (
    select request_id as id, session_group, occurred_at from raw.llm_requests
    where request_id in (select id from closing_ids)
    union all
    select message_id, session_group, occurred_at from raw.llm_requests
    where message_id in (select id from closing_ids)
)

select distinct told.id
from told
left join closing_groups as theirs using (session_group)
where told.occurred_at >= coalesce(theirs.open_from, %(horizon)s)
"""

# Whether something open stands on a row of a closed day (`sent`, of one of the `groups`).
STANDS = {
    "events": """
        sent.occurred_at >= groups.open_from
        or (sent.session_group, sent.event_id) in (select session_group, event_id from told_again)
    """,
    "llm_requests": """
        sent.occurred_at >= groups.open_from
        or sent.request_id in (select id from asked_again)
        or sent.message_id in (select id from asked_again)
    """,
    "session_batches": """
        sent.batch_id in (select batch_id from carried_batches)
        or (
            cardinality(sent.path_sequence) = 0
            and exists (
                select from jsonb_array_elements(sent.llm_interactions) as entry
                where (entry.value ->> 'timestamp')::timestamptz >= groups.open_from
            )
        )
    """,
}
TIMES = {
    "events": "sent.occurred_at",
    "llm_requests": "sent.occurred_at",
    "session_batches": "coalesce(sent.started_at, (sent.llm_interactions -> 0 ->> 'timestamp')::timestamptz)",
}
# What came too late for an earlier horizon stays closed.
CARRY = """
update raw.{stream} as sent set carried = true
from closing_groups as groups
where sent.session_group = groups.session_group
    and not sent.carried and not sent.withheld
    and {time} < %(horizon)s and {time} >= %(old_horizon)s
    and sent.received_at >= %(first_received)s and sent.received_at < %(received_by)s
    and sent.load_id in (select load_id from raw.loads where published_seq <= %(seen)s)
    and ({stands})
"""
LET_GO = """
update raw.{stream} as sent set carried = false
where sent.carried and sent.received_at between %(carried_from)s and %(carried_to)s and not exists (
    select from closing_groups as groups where sent.session_group = groups.session_group and ({stands})
)
"""

# When what is carried now was received: the next closing looks nowhere else.
CARRIED_SPAN = """
update ops.horizon set (carried_from, carried_to) = (
    select coalesce(min(received_at), 'infinity'), coalesce(max(received_at), '-infinity')
    from ({carried}) as carried
)
"""
STILL_CARRIED = """
select received_at from raw.{stream}
where carried and (
    received_at between %(carried_from)s and %(carried_to)s
    or received_at >= %(first_received)s and received_at < %(received_by)s
)
"""

TOUCH = """
insert into ops.touched (target, kind, key)
select bounds.target, 'session_group', groups.session_group
from ops.bounds as bounds
cross join (
    select session_group from closing_groups union select owner_group from closing_groups
) as groups
"""


def close_days(connection: psycopg.Connection, old: datetime | None, horizon: datetime, seen: int) -> int:
    """Close the days from the old horizon to a new one, given the last load the marts have seen.

    Fills `history`, marks what is carried, moves the horizon, lists what the next refresh must take up. Returns how
    many visits were closed. The caller holds the refresh lock and a transaction.
    """
    variables = project_variables()
    carried_from, carried_to = carried_span(connection)
    values: dict[str, Any] = {
        "carried_from": carried_from,
        "carried_to": carried_to,
        "horizon": horizon,
        "old_horizon": old or "-infinity",
        "day": horizon.date(),
        # A visit that crossed the last horizon began less than the cap before it.
        "first_day": old.date() - timedelta(days=variables["session_cap_hours"] // 24 + 1) if old else "-infinity",
        "gap": timedelta(minutes=variables["session_gap_minutes"]),
        "seen": seen,
    }
    for statement in (CLOSING, "analyze closing", GROUPS, "create index on closing_groups (session_group)"):
        connection.execute(statement, values)
    first_received, received_by = connection.execute(RECEIVED).fetchone()
    values |= {"first_received": first_received, "received_by": received_by}
    for statement in ("analyze closing_groups", CARRIED_BATCHES, TAILS, "delete from history.session_tails"):
        connection.execute(statement, values)
    connection.execute("insert into history.session_tails select * from tails")
    visits = connection.execute(VISITS).rowcount
    folding = (
        *(COUNTERS, REQUESTS, EVENTS, CONVERSIONS, CAMPAIGN_EVENTS),
        *(MERGES, EDGES, IDENTITIES, METRIC_VALUES, EVENT_DAYS),
    )
    for statement in folding:
        connection.execute(statement, values)
    for statement in (TOLD_AGAIN, ASKED_AGAIN):
        connection.execute(statement, values)
    for stream, stands in STANDS.items():
        for statement in (CARRY, LET_GO):
            connection.execute(statement.format(stream=stream, time=TIMES[stream], stands=stands), values)
    carried = " union all ".join(STILL_CARRIED.format(stream=stream) for stream in STANDS)
    connection.execute(CARRIED_SPAN.format(carried=carried), values)
    connection.execute(TOUCH)
    connection.execute("update ops.horizon set horizon = %(horizon)s", values)
    connection.execute("insert into ops.closings (horizon, published_seq) values (%(horizon)s, %(seen)s)", values)
    return visits


def carried_span(connection: psycopg.Connection) -> tuple[str, str]:
    """When the first and the last of the carried rows were received, as text: either may be infinite."""
    return connection.execute("select carried_from::text, carried_to::text from ops.horizon").fetchone()
