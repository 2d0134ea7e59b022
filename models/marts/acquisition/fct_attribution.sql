{{
    config(
        meta={
            'touched': {'visitor_id': ['agg_session_channels.visitor_id', 'fct_conversions.visitor_id']},
            'touched_type': 'uuid',
            'emits': ['conversion_date']
        },
        indexes=[{'columns': ['visitor_id']}, {'columns': ['conversion_date', 'app_id']}]
    )
}}

with

conversions as (
    select * from {{ ref('fct_conversions') }}
    where {{ where_touched('visitor_id') }}
),

touches as (
    select
        visits.*,
        channels.is_passed_over,
        row_number() over (
            partition by visits.visitor_id, visits.app_id order by visits.started_at, visits.session_key
        ) as visit_number
    from {{ ref('agg_session_channels') }} as visits
    inner join {{ ref('channels') }} as channels on visits.channel = channels.channel
    where channels.is_touch and {{ where_touched('visits.visitor_id') }}
),

-- how many touches a conversion has behind it: no conversion is held against every visit of its visitor
timeline as (
    select visitor_id, app_id, started_at as at, null::text as session_group, null::uuid as conversion_id, 1 as is_touch
    from touches
    union all
    select visitor_id, app_id, reached_at, session_group, conversion_id, 0 from conversions
),

counted as (
    select
        session_group,
        conversion_id,
        sum(is_touch) over (partition by visitor_id, app_id order by at, is_touch desc) as visits_before
    from timeline
),

numbered as (
    select
        session_group,
        conversion_id,
        generate_series(
            greatest(visits_before - {{ attribution_setting('max_touches') }}::bigint + 1, 1), visits_before
        ) as visit_number
    from counted
    where conversion_id is not null
),

considered as (
    select
        conversions.session_group,
        conversions.conversion_id,
        touches.session_group as touch_session_group,
        touches.session_key as touch_session_key,
        touches.started_at as touched_at,
        touches.channel,
        touches.source,
        touches.medium,
        touches.campaign,
        touches.is_passed_over,
        row_number() over by_time as touch_number,
        count(*) over (partition by conversions.session_group, conversions.conversion_id) as touch_count
    from conversions
    inner join numbered
        on conversions.session_group = numbered.session_group and conversions.conversion_id = numbered.conversion_id
    inner join touches
        on conversions.visitor_id = touches.visitor_id
        and conversions.app_id = touches.app_id
        and numbered.visit_number = touches.visit_number
    where
        touches.started_at
        >= conversions.reached_at - {{ attribution_setting('lookback_days') }}::float * interval '24 hours'
    window by_time as (
        partition by conversions.session_group, conversions.conversion_id order by touches.visit_number
    )
),

credited as (
    {{ attribution_credits('considered') }}
)

select
    -- ids
    conversions.session_group,
    conversions.conversion_id,
    coalesce(credited.touch_number, 1) as touch_number,
    conversions.visitor_id,
    conversions.app_id,
    conversions.goal_name,
    conversions.session_key,
    credited.touch_session_key,

    -- times
    conversions.reached_at,
    conversions.conversion_date,
    credited.touched_at,

    -- where it came from
    coalesce(credited.channel, 'Direct') as channel,
    coalesce(credited.source, 'Direct') as source,
    coalesce(credited.medium, 'None') as medium,
    coalesce(credited.campaign, 'None') as campaign,

    -- measures
    coalesce(credited.touch_count, 0) as touch_count,
    {% for model in attribution_models() %}
    coalesce(credited.{{ model }}_credit, 1) as {{ model }}_credit,
    {% endfor %}
    conversions.value_usd as conversion_value_usd
from conversions
left join credited
    on conversions.session_group = credited.session_group and conversions.conversion_id = credited.conversion_id
