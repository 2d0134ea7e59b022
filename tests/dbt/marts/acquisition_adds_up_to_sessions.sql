{{ config(tags=['nightly']) }}

-- No visit, conversion, credit or dollar is lost or told twice on the way to channels, campaigns and attribution.
with

sums (relation, day, app_id, told, expected) as (
    {% for relation in ['agg_traffic_sources', 'agg_channel_sessions'] %}
    select
        '{{ relation }}', session_date, app_id,
        array[counted.sessions, counted.conversions, counted.revenue_usd]::numeric[],
        array[facts.sessions, facts.conversions, facts.revenue_usd]::numeric[]
    from (
        select
            session_date, app_id, sum(sessions) as sessions, sum(conversions) as conversions,
            sum(revenue_usd) as revenue_usd
        from {{ ref(relation) }}
        group by session_date, app_id
    ) as counted
    full join (
        select
            session_date, app_id, count(*) as sessions, count(*) filter (where converted) as conversions,
            sum(conversion_value) as revenue_usd
        from {{ ref('fct_sessions') }}
        group by session_date, app_id
    ) as facts using (session_date, app_id)
    union all
    {% endfor %}
    -- what closed days converted before conversions were kept is known to visits alone
    select
        'fct_conversions', visits.session_date, visits.app_id,
        array[coalesce(counted.converted, 0), counted.revenue_usd]::numeric[],
        array[visits.converted::integer, visits.conversion_value]::numeric[]
    from {{ ref('fct_sessions') }} as visits
    inner join {{ ref('int_visits') }} as open_visits
        on visits.session_group = open_visits.session_group and visits.session_key = open_visits.session_key
    left join (
        select session_key, 1 as converted, sum(value_usd) as revenue_usd
        from {{ ref('fct_conversions') }}
        group by session_key
    ) as counted on visits.session_key = counted.session_key
    union all
    select
        'fct_attribution', conversions.conversion_date, conversions.app_id,
        array[
            {%- for model in attribution_models() %}
            sum(touches.{{ model }}_credit){{ ',' if not loop.last }}
            {%- endfor %}
        ]::numeric[],
        array_fill(1::numeric, array[{{ attribution_models() | length }}])
    from {{ ref('fct_conversions') }} as conversions
    full join {{ ref('fct_attribution') }} as touches
        on conversions.session_group = touches.session_group and conversions.conversion_id = touches.conversion_id
    group by conversions.session_group, conversions.conversion_id, conversions.conversion_date, conversions.app_id
    union all
    select
        'agg_attribution', conversion_date, app_id,
        array[counted.conversions, counted.revenue_usd]::numeric[],
        array[facts.conversions, facts.revenue_usd]::numeric[]
    from (
        select
            conversion_date, app_id, sum(linear_conversions) as conversions, sum(linear_revenue_usd) as revenue_usd
        from {{ ref('agg_attribution') }}
        group by conversion_date, app_id
    ) as counted
    full join (
        select conversion_date, app_id, count(*) as conversions, sum(value_usd) as revenue_usd
        from {{ ref('fct_conversions') }}
        group by conversion_date, app_id
    ) as facts using (conversion_date, app_id)
)

select * from sums
where told is distinct from expected
