{{
    config(
        pre_hook=["{{ refuse_bad_anomaly_rules() }}", "{{ touch_judged_days() }}"],
        meta={
            'touched': {'series_day': ['agg_metric_values.series_day', 'judged_day']},
            'depends_on_now': true
        },
        indexes=[{'columns': ['series_day']}]
    )
}}

with

rules as (
    select
        rules.*,
        metrics.direction,
        metrics.measure,
        metrics.season_days,
        metrics.grain_minutes
    from {{ ref('anomaly_rules') }} as rules
    inner join {{ ref('metrics') }} as metrics on rules.metric = metrics.metric
),

observations as (
    select
        series_key,
        series_day,
        metric,
        bucket_at,
        bucket_date,
        value,
        seasons,
        expected,
        spread,
        usual_level,
        level_deviation,
        seasonal_residual,
        smoothed_residual,
        first_difference
    from {{ ref('metric_observations') }}
    where value is not null and {{ where_touched('series_day') }}
),

{{ pasts_of('observations', ref('agg_metric_days')) }},

verdicts as (
    {{ fixed_threshold_verdicts('pasts', ref('metric_observations')) }}
    union all
    {{ seasonal_baseline_verdicts('pasts') }}
    union all
    {{ self_calibrating_verdicts('pasts') }}
    union all
    {{ count_tail_verdicts('pasts') }}
),

described as (
    select
        verdicts.*,
        rules.detector,
        rules.measure,
        rules.season_days,
        seen.app_id,
        seen.scope,
        seen.scope_value,
        seen.kind,
        seen.seasons,
        seen.observations,
        seen.metric,
        seen.grain_minutes,
        seen.bucket_date,
        seen.series_day
    from verdicts
    inner join rules on verdicts.rule = rules.rule
    inner join {{ ref('metric_observations') }} as seen
        on verdicts.series_key = seen.series_key and verdicts.bucket_at = seen.bucket_at
),

{{ contributors_of('described', ref('agg_metric_values')) }}

select
    -- ids
    described.rule,
    described.series_key,
    described.series_day,
    described.metric,
    described.kind,
    described.app_id,
    described.scope,
    described.scope_value,
    described.detector,

    -- times
    described.bucket_at,
    described.bucket_date,
    described.grain_minutes,

    -- measures
    trim_scale(round(described.current, 6)) as current,
    trim_scale(round(described.expected, 6)) as expected,
    trim_scale(round(described.lower, 6)) as lower,
    trim_scale(round(described.upper, 6)) as upper,
    trim_scale(round(described.excess, 6)) as excess,
    described.judged_by,
    coalesce(contributors.contributors, '[]'::jsonb) as contributors
from described
left join contributors using (rule, series_key, bucket_at)
