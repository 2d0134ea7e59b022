{{ config(materialized='view') }}

with

spans as (
    select
        {{ utc_date(as_of()) }} as today,
        {{ first_day_of('growth') }} as window_date,
        {{ first_day_of('growth') }} - {{ rule_threshold('growth', 'window_days') }}::integer as before_date
),

uses as (
    select
        usage.scope,
        usage.app_id,
        usage.scope_value,
        spans.before_date,
        spans.today - spans.window_date as window_days,
        sum(usage.sessions) filter (where usage.usage_date >= spans.window_date) as sessions,
        sum(usage.sessions) filter (where usage.usage_date < spans.window_date) as sessions_before
    from spans
    inner join {{ ref('agg_usage_daily') }} as usage
        on usage.usage_date >= spans.before_date and usage.usage_date < spans.today
    group by usage.scope, usage.app_id, usage.scope_value, spans.before_date, spans.window_date, spans.today
),

grown as (
    select *, sessions / sessions_before - 1 as growth_rate
    from uses
    where
        sessions_before >= greatest({{ rule_threshold('growth', 'minimum_sessions') }}, 1)
        and sessions >= sessions_before * (1 + {{ rule_threshold('growth', 'growth_rate') }})
)

select
    -- ids
    grown.scope,
    grown.app_id,
    case when grown.scope = 'workspace' then grown.scope_value end as workspace_id,
    case when grown.scope = 'feature' then grown.scope_value end as feature_id,
    null::text as provider,
    null::text as model,
    null::text as suggestion,

    -- why
    format('Use of %s %s grew: check capacity, budget and plan', grown.scope, grown.scope_value) as title,
    jsonb_build_object(
        'sessions', grown.sessions,
        'sessions_before', grown.sessions_before,
        'growth_rate', round(grown.growth_rate, 4),
        'days', grown.window_days
    ) as evidence,

    -- measures
    null::numeric as estimated_saving_usd,
    round(grown.growth_rate / nullif({{ rule_threshold('growth', 'growth_rate') }}, 0), 2) as severity
from grown
-- what began in the days before grew from nothing
where
    exists (
        select from {{ ref('agg_usage_daily') }} as first_uses
        where
            first_uses.scope = grown.scope
            and first_uses.app_id = grown.app_id
            and first_uses.scope_value = grown.scope_value
            and first_uses.usage_date <= grown.before_date
    )
