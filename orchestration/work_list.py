"""What the new loads touch: the session groups whose rows the incremental models must replace.

Days, visitors and workspaces follow from those: each mart writes the keys its changed rows carry, old and new,
to `ops.touched` in the transaction that changes them (macro `get_incremental_touched_sql`).
"""

from __future__ import annotations

import psycopg

# The range lets the index on load_id leave out what came before: without it a refresh would read all of raw.
OF_NEW_LOADS = """
    load_id between (select min(load_id) from new_loads) and (select max(load_id) from new_loads)
    and load_id in (select load_id from new_loads)
"""

LINKS = f"""
with new_loads as (
    select load_id from raw.loads
    where published_seq > %(linked)s and published_seq <= %(to_seq)s
)
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

NEW_GROUPS = f"""
with new_loads as (
    select load_id from raw.loads
    where published_seq > %(from_seq)s and published_seq <= %(to_seq)s
)
insert into ops.touched (target, kind, key)
select %(target)s, 'session_group', session_group
from raw.session_batches where not withheld and {OF_NEW_LOADS}
union
select %(target)s, 'session_group', session_group
from raw.session_batches inner join raw.superseded using (load_id, line_number)
where superseded_by in (select load_id from new_loads)
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
    """Bring `ops.group_links` up to the load `to_seq`; two at once wait for each other."""
    row = connection.execute("select published_seq from ops.linked_seq for update").fetchone()
    linked = row[0]
    if linked >= to_seq:
        return
    connection.execute(LINKS, {"linked": linked, "to_seq": to_seq})
    connection.execute("update ops.linked_seq set published_seq = %s", [to_seq])


def touch_groups(connection: psycopg.Connection, target: str, from_seq: int, to_seq: int) -> int:
    """Add to the work list of `target` what the loads after `from_seq` up to `to_seq` touch.

    Returns how many session groups the list now names.
    """
    connection.execute(NEW_GROUPS, {"target": target, "from_seq": from_seq, "to_seq": to_seq})
    while connection.execute(LINKED_GROUPS, {"target": target}).rowcount:
        pass
    row = connection.execute(
        "select count(distinct key) from ops.touched where target = %s and kind = 'session_group'", [target]
    ).fetchone()
    return row[0]
