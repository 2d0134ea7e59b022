{{
    config(
        pre_hook="{{ count_by_hash() }}",
        meta={
            'touched': {
                'bucket_date': [
                    'whoever:fct_sessions.session_date', 'whoever:fct_page_views.view_date',
                    'whoever:fct_goals.goal_date', 'whoever:fct_events.event_date',
                    'whoever:fct_llm_requests.request_date', 'agg_cost_daily.cost_date'
                ]
            },
            'touched_type': 'date', 'emits': ['series_day']},
        indexes=[{'columns': ['series_key', 'bucket_at']}, {'columns': ['bucket_date']}]
    )
}}

with

-- what may be watched: the seed metrics names relation and expression
measurements as (
    {{ measured(ref('fct_sessions'), 'started_at', 'session_date', {
        'sessions': '1', 'with_errors': 'case when error_count > 0 then 1 end', 'converted': 'converted::integer'
    }, {'source': 'source', 'page': 'entry_page'}) }}
    union all
    {{ measured(ref('fct_page_views'), 'viewed_at', 'view_date', {'page_views': '1', 'load_ms': 'load_ms'},
        {'page': 'page'}, workspace='null::text') }}
    union all
    {{ measured(ref('fct_goals'), 'reached_at', 'goal_date', {'goals': '1'}, {'goal': 'goal_name'}, 'null::text') }}
    union all
    {{ measured(ref('fct_events'), 'occurred_at', 'event_date', {
        'sign_in_failure': "case when event_role = 'sign_in_failure' then 1 end",
        'mfa_failure': "case when event_role = 'mfa_failure' then 1 end",
        'notification_disconnect': "case when event_role = 'notification_disconnect' then 1 end",
        'response_ms': 'response_ms'
    }, {'page': 'page', 'country': 'country_code'}) }}
    union all
    {{ measured(ref('fct_llm_requests'), 'requested_at', 'request_date', {
        'requests': '1', 'failed': '(' ~ has_failed('status', 'status_code') ~ ')::integer', 'cost_usd': 'cost_usd',
        'latency_ms': 'latency_ms', 'tokens': 'total_tokens'
    }, {'feature': 'feature_id', 'model': 'model'}) }}
    union all
    {{ measured(ref('agg_cost_daily'), "cost_date::timestamp at time zone 'UTC'", 'cost_date', {'cost_usd': 'cost_usd'},
        {'service': "coalesce(nullif(service, 'unattributed'), category)", 'model': 'model'}) }}
),

-- to whom a metric belongs, in buckets of its own length
watched as (
    select
        metrics.metric,
        metrics.measure,
        metrics.grain_minutes,
        metrics.scope,
        measurements.app_id,
        case metrics.scope when 'workspace' then measurements.workspace_id else measurements.app_id end as scope_value,
        {{ bucket('measurements.quarter_at', 'metrics.grain_minutes') }} as bucket_at,
        part.place,
        part.kind as part_kind,
        coalesce(part.name, '(none)') as part,
        measurements.amount,
        measurements.measurements
    from measurements
    inner join {{ ref('metrics') }} as metrics
        on measurements.relation = metrics.relation and measurements.expression = metrics.expression
    -- each measurement once for each of its parts: all have one of the first kind, and are told whole by those
    cross join
        lateral (
            values
            (1, measurements.part_kind_0, measurements.part_0),
            (2, measurements.part_kind_1, measurements.part_1)
        ) as part (place, kind, name)
    where
        (metrics.scope = 'app' or measurements.workspace_id is not null)
        and part.kind is not null
),

parts as (
    select
        metric,
        measure,
        grain_minutes,
        scope,
        app_id,
        scope_value,
        bucket_at,
        place,
        part_kind,
        part,
        sum(amount) as amount,
        sum(measurements)::bigint as measurements,
        row_number() over (
            partition by bucket_at, metric, scope, app_id, scope_value, place
            order by sum(amount) desc, part
        ) as rank
    from watched
    group by metric, measure, grain_minutes, scope, app_id, scope_value, bucket_at, place, part_kind, part
),

buckets as (
    select
        metric,
        app_id,
        scope,
        scope_value,
        bucket_at,
        {{ utc_date('bucket_at') }} as bucket_date,
        grain_minutes,
        {{ measure_of(
            'measure', 'sum(amount) filter (where place = 1)', 'sum(measurements) filter (where place = 1)'
        ) }} as value,
        sum(measurements) filter (where place = 1)::bigint as observations,
        jsonb_agg(
            jsonb_build_object(
                'kind', part_kind, 'name', part, 'amount', trim_scale(round(amount, 6)), 'measurements', measurements
            ) order by place, rank
        ) filter (where rank <= {{ anomaly_setting('parts_kept') }}) as parts
    from parts
    group by metric, measure, app_id, scope, scope_value, bucket_at, grain_minutes
)

-- what a closed day held stands; of its facts only those of visits that cross the horizon are left
select
    {{ series_key() }} as series_key,
    {{ series_day(series_key()) }} as series_day,
    metric,
    app_id,
    scope,
    scope_value,
    bucket_at,
    bucket_date,
    {{ recorded_value('metric_value', 'grain_minutes', 'integer') }} as grain_minutes,
    {{ recorded_value('metric_value', 'value', 'numeric') }} as value,
    {{ recorded_value('metric_value', 'observations', 'bigint') }} as observations,
    {{ recorded_value('metric_value', 'parts', 'jsonb') }} as parts
from {{ ref('stg_closed_metric_values') }}
where {{ where_touched('bucket_date') }}
union all
select
    {{ series_key() }} as series_key,
    {{ series_day(series_key()) }} as series_day,
    metric,
    app_id,
    scope,
    scope_value,
    bucket_at,
    bucket_date,
    grain_minutes,
    value,
    observations,
    parts
from buckets
