{{
    config(
        meta={'touched': {'session_group': ['session_group']}},
        indexes=[{'columns': ['session_group']}]
    )
}}

with

-- a copy of them would keep a whole build from sorting in parallel
merged as not materialized (
    select * from {{ ref('int_merged_groups') }}
    where {{ where_touched('session_group') }}
),

starts as (
    select session_group, started_at, user_id, anonymous_id, app_id
    from {{ ref('int_batch_snapshots') }}
    where snapshot_number = 1 and {{ where_touched('session_group') }}
),

events as (
    select session_group, occurred_at, user_id, anonymous_id, app_id
    from {{ ref('stg_events') }}
    where {{ where_touched_in_raw('session_group', 'received_at') }}
),

requests as (
    select session_group, occurred_at, user_id, anonymous_id, app_id
    from {{ ref('stg_llm_requests') }}
    where record_type = 'request' and {{ where_touched_in_raw('session_group', 'received_at') }}
),

raw_activities as (
    select * from starts
    union all
    select * from events
    union all
    select * from requests
),

told_activities as (
    select
        {{ owner_group('raw_activities') }} as session_group,
        raw_activities.started_at as at,
        raw_activities.user_id,
        raw_activities.anonymous_id,
        raw_activities.app_id
    from raw_activities
    left join merged on raw_activities.session_group = merged.session_group
    union all
    select session_group, viewed_at, user_id, anonymous_id, app_id
    from {{ ref('int_batch_pages') }}
    where {{ where_touched('session_group') }}
    union all
    select session_group, occurred_at, user_id, anonymous_id, app_id
    from {{ ref('int_batch_entries') }}
    where {{ where_touched('session_group') }}
    union all
    select session_group, occurred_at, user_id, anonymous_id, app_id
    from {{ ref('int_llm_tellings') }}
    where told_by = 'server' and {{ where_touched('session_group') }}
    union all
    select session_group, value::timestamptz, user_id, anonymous_id, app_id
    from {{ ref('int_batch_values') }}
    where kind = 'goal' and {{ where_touched('session_group') }}
),

-- a run that crosses the horizon is taken up where its last visit began
tails as (
    select
        {{ owner_group('resumed') }} as session_group,
        min(resumed.visit_started_at) as open_from,
        min(resumed.run_started_at) as run_started_at
    from {{ ref('stg_session_tails') }} as resumed
    left join merged on resumed.session_group = merged.session_group
    group by {{ owner_group('resumed') }}
),

activities as (
    select
        told.session_group,
        told.at,
        told.user_id,
        told.anonymous_id,
        told.app_id,
        case when told.at = tails.open_from then tails.run_started_at else told.at end as run_at
    from told_activities as told
    left join tails on told.session_group = tails.session_group
    where told.at >= coalesce(tails.open_from, (select ops.horizon()))
),

gaps as (
    select
        *,
        at - lag(at) over in_group < {{ var('session_gap_minutes') }} * interval '1 minute' as goes_on
    from activities
    window in_group as (partition by session_group order by at)
),

runs as (
    select *, max(run_at) filter (where goes_on is not true) over in_group as run_started_at
    from gaps
    window in_group as (partition by session_group order by at)
),

-- a run longer than the cap is cut at its start + k caps
capped as (
    select
        *,
        floor(date_part('epoch', at - run_started_at) / {{ var('session_cap_hours') * 3600 }}) as cap_number
    from runs
)

select
    session_group,
    {{ session_key('session_group', 'min(at)') }} as session_key,
    min(at) as started_at,
    max(at) as ended_at,
    ops.first_value(user_id order by at desc, user_id) as user_id,
    -- both in one order, so that the rows of a visit are sorted once
    ops.first_value(anonymous_id order by at, app_id, anonymous_id) as anonymous_id,
    coalesce(ops.first_value(app_id order by at, app_id), 'default') as app_id
from capped
group by session_group, run_started_at, cap_number
