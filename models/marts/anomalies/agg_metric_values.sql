{{
    config(
        meta={
            'touched': {
                'bucket_date': [
                    'fct_sessions.session_date', 'fct_page_views.view_date', 'fct_goals.goal_date',
                    'fct_events.event_date', 'fct_llm_requests.request_date'
                ]
            },
            'touched_type': 'date'
        }
    )
}}

with

measurements as (
    select 'session' as source, app_id, started_at as measured_at, 1::numeric as amount
    from {{ ref('fct_sessions') }}
    where {{ where_touched('session_date') }}
    union all
    select 'session_with_error' as source, app_id, started_at as measured_at, 1 as amount
    from {{ ref('fct_sessions') }}
    where error_count > 0 and {{ where_touched('session_date') }}
    union all
    select 'page_view' as source, app_id, viewed_at as measured_at, 1 as amount
    from {{ ref('fct_page_views') }}
    where {{ where_touched('view_date') }}
    union all
    select 'goal' as source, app_id, reached_at as measured_at, 1 as amount
    from {{ ref('fct_goals') }}
    where {{ where_touched('goal_date') }}
    union all
    select event_role as source, app_id, occurred_at as measured_at, 1 as amount
    from {{ ref('fct_events') }}
    where event_role in ('sign_in_failure', 'mfa_failure') and {{ where_touched('event_date') }}
    union all
    select reading.source, requests.app_id, requests.requested_at as measured_at, reading.amount
    from {{ ref('fct_llm_requests') }} as requests
    inner join lateral (
        values ('llm_request', 1::numeric), ('llm_cost', requests.cost_usd), ('llm_latency', requests.latency_ms)
    ) as reading (source, amount) on true
    where reading.amount is not null and {{ where_touched('requests.request_date') }}
)

-- what a closed day held stands; of its facts only those of visits that cross the horizon are left
select
    metric,
    app_id,
    bucket_at,
    bucket_date,
    {{ recorded_value('metric_value', 'grain_minutes', 'integer') }} as grain_minutes,
    {{ recorded_value('metric_value', 'value', 'numeric') }} as value,
    {{ recorded_value('metric_value', 'observations', 'bigint') }} as observations
from {{ ref('stg_closed_metric_values') }}
where {{ where_touched('bucket_date') }}
union all
select
    metrics.metric,
    measurements.app_id,
    {{ bucket('measurements.measured_at', 'metrics.grain_minutes') }} as bucket_at,
    {{ utc_date(bucket('measurements.measured_at', 'metrics.grain_minutes')) }} as bucket_date,
    metrics.grain_minutes,
    case metrics.measure
        when 'mean' then round(avg(measurements.amount), 6)
        else sum(measurements.amount)
    end as value,
    count(*) as observations
from measurements
inner join {{ ref('metrics') }} as metrics on measurements.source = metrics.source
where measurements.measured_at >= (select ops.horizon())
group by metrics.metric, metrics.measure, metrics.grain_minutes, measurements.app_id, bucket_at
