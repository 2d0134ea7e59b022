{{
    config(
        meta={
            'touched': {'session_group': ['session_group', 'int_sessions.session_group']},
            'emits': ['error_date']
        },
        indexes=[{'columns': ['error_date', 'app_id']}, {'columns': ['session_key']}]
    )
}}

with

visits as (
    select * from {{ ref('int_sessions') }}
    where {{ where_touched('session_group') }} and is_closed is not true
),

entries as (
    select * from {{ ref('int_batch_entries') }}
    where kind = 'error' and {{ where_touched('session_group') }}
),

error_events as (
    select * from {{ ref('fct_events') }}
    where event_role = 'error' and {{ where_touched('session_group') }}
),

conversions as (
    select session_key, max(reached_at) as last_conversion_at
    from {{ ref('fct_goals') }}
    where is_conversion and {{ where_touched('session_group') }}
    group by session_key
),

tellings as (
    select
        session_group,
        md5('session batch|' || batch_id || '|' || occurrence || '|' || entry)::uuid as error_id,
        'session batch' as told_by,
        app_id,
        entry ->> 'type' as error_type,
        {{ url_path("entry ->> 'page'") }} as page,
        entry ->> 'message' as message,
        occurred_at
    from entries
    union all
    select
        session_group,
        md5('event|' || event_id)::uuid as error_id,
        'event' as told_by,
        app_id,
        coalesce(
            properties ->> 'error_type', properties ->> 'errorType', properties ->> 'type', event_name
        ) as error_type,
        page,
        coalesce(
            properties ->> 'message', properties ->> 'error_message', properties ->> 'errorMessage',
            properties ->> 'error'
        ) as message,
        occurred_at
    from error_events
),

gaps as (
    select
        tellings.*,
        visits.session_key,
        visits.visitor_id,
        visits.user_id,
        visits.app_id as visit_app_id,
        visits.started_at,
        visits.ended_at,
        tellings.occurred_at - lag(tellings.occurred_at) over of_kind > interval '10 seconds' as follows_gap
    from tellings
    {{ join_visits('tellings', 'occurred_at') }}
    window of_kind as (
        partition by visits.session_key, tellings.error_type, tellings.page order by tellings.occurred_at
    )
),

runs as (
    select
        *,
        count(*) filter (where follows_gap) over (
            partition by session_key, error_type, page order by occurred_at
        ) as run_number
    from gaps
),

numbered as (
    select
        *,
        row_number() over (
            partition by session_key, error_type, page, run_number, told_by order by occurred_at, error_id
        ) as place
    from runs
),

-- in a run without a gap the n-th that batches tell and the n-th that events tell are one
told as (
    select
        *,
        count(*) over same_error as tellings,
        max(message) over same_error as message_of_either,
        row_number() over (same_error order by told_by desc) as telling
    from numbered
    window same_error as (partition by session_key, error_type, page, run_number, place)
)

select
    -- ids
    told.session_group,
    told.error_id,
    told.session_key,
    told.visitor_id,
    told.user_id,
    coalesce(told.app_id, told.visit_app_id) as app_id,

    -- what
    told.error_type,
    told.page,
    coalesce(told.message, told.message_of_either) as message,
    case when told.tellings > 1 then 'both' else told.told_by end as told_by,

    -- times
    told.occurred_at,
    {{ utc_date('told.occurred_at') }} as error_date,
    (extract(epoch from told.occurred_at - told.started_at) * 1000)::bigint as into_session_ms,

    -- what the session did next
    told.ended_at <= told.occurred_at + interval '30 seconds' as left_within_30_seconds,
    coalesce(conversions.last_conversion_at > told.occurred_at, false) as converted_anyway
from told
left join conversions using (session_key)
where told.telling = 1
