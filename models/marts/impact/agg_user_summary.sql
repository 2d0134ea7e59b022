{{
    config(
        meta={
            'touched': {'summary_date': ['agg_cost_daily.cost_date', 'fct_sessions.session_date']},
            'touched_type': 'date'
        },
        indexes=[{'columns': ['summary_date']}]
    )
}}

with

costs as (
    select * from {{ ref('agg_cost_daily') }}
    where {{ where_touched('cost_date') }}
),

sessions as (
    select
        session_date,
        coalesce(user_id, 'unattributed') as user_id,
        duration_seconds,
        converted,
        features_used
    from {{ ref('fct_sessions') }}
    where {{ where_touched('session_date') }}
),

spending as (
    select
        cost_date as summary_date,
        user_id,
        sum(requests) as requests,
        sum(failed_requests) as failed_requests,
        sum(unpriced_requests) as unpriced_requests,
        sum(total_tokens) as total_tokens,
        sum(cost_usd) as cost_usd
    from costs
    group by cost_date, user_id
),

visiting as (
    select
        session_date as summary_date,
        user_id,
        count(*) as sessions,
        count(*) filter (where converted) as converted_sessions,
        sum(duration_seconds) as active_seconds
    from sessions
    group by session_date, user_id
),

used as (
    select cost_date as summary_date, user_id, feature_id
    from costs
    where feature_id <> 'unattributed' and requests > 0
    union
    select sessions.session_date, sessions.user_id, feature.feature_id
    from sessions
    cross join lateral unnest(sessions.features_used) as feature (feature_id)
),

features as (
    select summary_date, user_id, array_agg(feature_id order by feature_id) as features_used
    from used
    group by summary_date, user_id
)

select
    -- ids
    summary_date,
    user_id,

    -- visits
    coalesce(visiting.sessions, 0) as sessions,
    coalesce(visiting.converted_sessions, 0) as converted_sessions,
    coalesce(visiting.active_seconds, 0) as active_seconds,
    coalesce(features.features_used, '{}') as features_used,

    -- llm
    coalesce(spending.requests, 0)::bigint as requests,
    coalesce(spending.failed_requests, 0)::bigint as failed_requests,
    coalesce(spending.unpriced_requests, 0)::bigint as unpriced_requests,
    spending.total_tokens::bigint as total_tokens,

    -- cost
    spending.cost_usd
from visiting
full join spending using (summary_date, user_id)
left join features using (summary_date, user_id)
