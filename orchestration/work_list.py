"""What the new loads touch: session groups, workspaces and cost lines whose rows the incremental models must replace.

Days and visitors, and the users and workspaces of visits, follow from the groups: each mart writes the keys its
changed rows carry, old and new, to `ops.touched` in the transaction that changes them (macro
`get_incremental_touched_sql`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import psycopg

# When they were received leaves out the partitions of other days, before they are planned and locked even; the range
# of load_id lets the index leave out what else those days hold. Without them a refresh would read all of raw.
OF_NEW_LOADS = """
    received_at between %(first_received)s and %(last_received)s
    and load_id between (select min(load_id) from new_loads) and (select max(load_id) from new_loads)
    and load_id in (select load_id from new_loads)
"""

NEW_LOADS = """
with new_loads as (
    select load_id from raw.loads
    where published_seq > %(from_seq)s and published_seq <= %(to_seq)s
)
"""

# A load's rows are received when it starts.
RECEIVED = """
select min(started_at), max(started_at) from raw.loads
where published_seq > %(from_seq)s and published_seq <= %(to_seq)s
"""

DAYS = f"""
{NEW_LOADS}
insert into ops.group_days (session_group, received_date)
select session_group, (received_at at time zone 'UTC')::date
from raw.session_batches where {OF_NEW_LOADS}
union
select session_group, (received_at at time zone 'UTC')::date
from raw.events where {OF_NEW_LOADS}
union
select session_group, (received_at at time zone 'UTC')::date
from raw.llm_requests where {OF_NEW_LOADS}
union
select session_group, (received_at at time zone 'UTC')::date
from raw.identifies where {OF_NEW_LOADS}
on conflict do nothing
"""

COST_DAYS = f"""
{NEW_LOADS}
insert into ops.cost_days (cost_id, received_date)
select distinct cost_id, (received_at at time zone 'UTC')::date
from raw.costs where {OF_NEW_LOADS}
on conflict do nothing
"""

LINKS = f"""
{NEW_LOADS}
insert into ops.group_links (kind, key, session_group)
select 'batch', batch_id::text, session_group
from raw.session_batches where not withheld and {OF_NEW_LOADS}
union
select 'request', request_id, session_group
from raw.llm_requests where request_id is not null and {OF_NEW_LOADS}
union
select 'message', message_id, session_group
from raw.llm_requests where message_id is not null and {OF_NEW_LOADS}
union
select entry.kind, entry.key, session_group
from (
    select session_group, interaction.value as told
    from raw.session_batches cross join lateral jsonb_array_elements(llm_interactions) as interaction
    where cardinality(path_sequence) = 0 and not withheld and {OF_NEW_LOADS}
) as server_rows
cross join lateral (
    values ('request', told ->> 'request_id'), ('message', told ->> 'message_id')
) as entry (kind, key)
where entry.key is not null
union
select 'anonymous', anonymous_id, session_group
from raw.session_batches where anonymous_id is not null and {OF_NEW_LOADS}
union
select 'anonymous', anonymous_id, session_group
from raw.events where anonymous_id is not null and {OF_NEW_LOADS}
union
select 'anonymous', anonymous_id, session_group
from raw.identifies where anonymous_id is not null and {OF_NEW_LOADS}
union
select 'anonymous', anonymous_id, session_group
from raw.llm_requests where anonymous_id is not null and {OF_NEW_LOADS}
on conflict do nothing
"""

# A router's other choice is looked up as its provider's and, where that has no such model, by its name alone.
NAMES = f"""
{NEW_LOADS}
insert into ops.llm_names (name_key, provider, model, service_tier)
select distinct on (1)
    ops.llm_name_key(named.provider, named.model, service_tier), coalesce(named.provider, ''), named.model,
    coalesce(service_tier, '')
from (
    select distinct provider, model, baseline_model, service_tier from raw.llm_requests
    where num_nonnulls(model, baseline_model) > 0 and record_type = 'request' and not withheld and {OF_NEW_LOADS}
) as told
cross join lateral (
    values (told.provider, told.model), (told.provider, told.baseline_model), (null, told.baseline_model)
) as named (provider, model)
where named.model is not null
on conflict do nothing
"""

NEW_NAMES = f"""
{NEW_LOADS}
insert into ops.touched (target, kind, key)
select distinct %(target)s, 'llm_name', ops.llm_name_key(provider, model, service_tier)::text
from (
    select distinct provider, model, service_tier from raw.llm_requests
    where model is not null and record_type = 'request' and not withheld and {OF_NEW_LOADS}
) as named
"""

NEW_GROUPS = f"""
{NEW_LOADS}
insert into ops.touched (target, kind, key)
select %(target)s, 'session_group', session_group
from raw.session_batches where not withheld and {OF_NEW_LOADS}
union
select %(target)s, 'session_group', session_group
from raw.events where not withheld and {OF_NEW_LOADS}
union
select %(target)s, 'session_group', session_group
from raw.identifies where not withheld and {OF_NEW_LOADS}
union
select %(target)s, 'session_group', session_group
from raw.llm_requests where not withheld and {OF_NEW_LOADS}
"""

# Rows that belong to no session.
NEW_WORKSPACES = f"""
{NEW_LOADS}
insert into ops.touched (target, kind, key)
select distinct %(target)s, 'workspace', workspace_id
from raw.workspaces where {OF_NEW_LOADS}
"""

# Costs belong to no session either: a line has an id of its own.
NEW_COSTS = f"""
{NEW_LOADS}
insert into ops.touched (target, kind, key)
select distinct %(target)s, 'cost', cost_id
from raw.costs where not withheld and {OF_NEW_LOADS}
"""

# Rows that lacked a bad element, and whose mended record a new load holds whole.
SUPERSEDED_RECEIVED = f"""
{NEW_LOADS}
select min(loads.started_at), max(loads.started_at)
from raw.superseded
inner join raw.loads using (load_id)
where superseded.superseded_by in (select load_id from new_loads)
"""

SUPERSEDED_GROUPS = f"""
{NEW_LOADS}
insert into ops.touched (target, kind, key)
select distinct %(target)s, 'session_group', session_group
from raw.session_batches
inner join raw.superseded using (load_id, line_number)
where superseded.superseded_by in (select load_id from new_loads)
    and session_batches.received_at between %(first_received)s and %(last_received)s
"""

# A batch that changed its session id, or a rating that names a request, bears on another group's rows.
LINKED_GROUPS = """
with ours as (
    -- each link once: many groups may mention one message
    select distinct links.kind, links.key
    from ops.touched as work
    inner join ops.group_links as links on work.key = links.session_group and links.kind <> 'anonymous'
    where work.target = %(target)s and work.kind = 'session_group'
)
insert into ops.touched (target, kind, key)
select distinct %(target)s, 'session_group', theirs.session_group
from ours
inner join ops.group_links as theirs using (kind, key)
where
    not exists (
        select from ops.touched as seen
        where seen.target = %(target)s and seen.kind = 'session_group' and seen.key = theirs.session_group
    )
"""


def link_groups(connection: psycopg.Connection, to_seq: int) -> None:
    """Bring what is known of groups, days, LLM names and cost days up to the load `to_seq`; two at once wait."""
    row = connection.execute("select published_seq from ops.linked_seq for update").fetchone()
    if row[0] >= to_seq:
        return
    limits = {"from_seq": row[0], "to_seq": to_seq}
    if _received(connection, RECEIVED, limits):
        connection.execute(LINKS, limits)
        connection.execute(DAYS, limits)
        connection.execute(NAMES, limits)
        connection.execute(COST_DAYS, limits)
    connection.execute("update ops.linked_seq set published_seq = %s", [to_seq])


def touch_groups(connection: psycopg.Connection, target: str, from_seq: int, to_seq: int) -> int:
    """Add to the work list of `target` what the loads after `from_seq` up to `to_seq` touch.

    Returns how many session groups the list now names.
    """
    limits = {"target": target, "from_seq": from_seq, "to_seq": to_seq}
    if _received(connection, RECEIVED, limits):
        connection.execute(NEW_GROUPS, limits)
        connection.execute(NEW_WORKSPACES, limits)
        connection.execute(NEW_NAMES, limits)
        connection.execute(NEW_COSTS, limits)
    if _received(connection, SUPERSEDED_RECEIVED, limits):
        connection.execute(SUPERSEDED_GROUPS, limits)
    while connection.execute(LINKED_GROUPS, {"target": target}).rowcount:
        pass
    row = connection.execute(
        "select count(distinct key) from ops.touched where target = %s and kind = 'session_group'", [target]
    ).fetchone()
    return row[0]


def touch_seeds(connection: psycopg.Connection, target: str, names: Iterable[str]) -> None:
    """Add to the work list of `target` that these seeds are not as they were."""
    connection.cursor().executemany(
        "insert into ops.touched (target, kind, key) values (%s, 'seed', %s)",
        [(target, name) for name in sorted(names)],
    )


def _received(connection: psycopg.Connection, query: str, limits: dict[str, Any]) -> bool:
    """Put into `limits` when the rows in question were received; False if there are none."""
    first, last = connection.execute(query, limits).fetchone()
    limits |= {"first_received": first, "last_received": last}
    return first is not None
