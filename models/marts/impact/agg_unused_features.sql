{{ config(materialized='view') }}

with

spans as (
    select
        {{ utc_date(as_of()) }} as today,
        {{ first_day_of('unused_feature') }} as window_date,
        {{ first_day_of('unused_feature') }} - {{ rule_threshold('unused_feature', 'before_days') }}::integer
            as before_date
),

uses as (
    select
        usage.app_id,
        usage.scope_value as feature_id,
        spans.window_date,
        spans.today - spans.window_date as window_days,
        sum(usage.sessions) filter (where usage.usage_date < spans.window_date) as sessions_before,
        count(*) filter (where usage.usage_date < spans.window_date) as days_before,
        max(usage.usage_date) as last_used_date
    from spans
    inner join {{ ref('agg_usage_daily') }} as usage
        on usage.usage_date >= spans.before_date and usage.usage_date < spans.today
    where usage.scope = 'feature'
    group by usage.app_id, usage.scope_value, spans.window_date, spans.today
    having max(usage.usage_date) < spans.window_date
),

-- where nobody comes, or nothing arrives any more, it is not the feature
busy_apps as (
    select distinct app_id from {{ ref('agg_usage_daily') }}
    where scope = 'app' and {{ is_looked_at('usage_date', 'unused_feature') }}
)

select
    -- ids
    'feature' as scope,
    app_id,
    null::text as workspace_id,
    feature_id,
    null::text as provider,
    null::text as model,
    null::text as suggestion,

    -- why
    format('%s is no longer used: find out why, or retire it', feature_id) as title,
    jsonb_build_object(
        'sessions_before', sessions_before,
        'days_before', days_before,
        'last_used_date', last_used_date,
        'unused_days', window_days
    ) as evidence,

    -- measures
    null::numeric as estimated_saving_usd,
    round(sessions_before / nullif({{ rule_threshold('unused_feature', 'minimum_sessions') }}, 0), 2) as severity
from uses
where
    sessions_before >= {{ rule_threshold('unused_feature', 'minimum_sessions') }}
    and days_before >= {{ rule_threshold('unused_feature', 'minimum_days') }}
    and app_id in (select app_id from busy_apps)
