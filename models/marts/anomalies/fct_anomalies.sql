{{ config(materialized='table') }}

with

-- what the same hour of the week held in the eight weeks before: never the bucket itself, never later
observed as (
    select
        *,
        array_agg(value) over (
            partition by
                metric, app_id, extract(isodow from bucket_at at time zone 'UTC'),
                (bucket_at at time zone 'UTC')::time
            order by bucket_at
            rows between 8 preceding and 1 preceding
        ) as history
    from {{ ref('metric_observations') }}
    where value is not null
),

judged as (
    select
        observed.*,
        rules.rule,
        rules.detector,
        rules.direction,
        rules.threshold,
        rules.minimum_value,
        rules.minimum_expected,
        rules.minimum_history,
        rules.critical_excess,
        baseline.weeks,
        baseline.median,
        greatest(
            1.4826 * baseline.deviation, rules.minimum_spread_rate * baseline.median, rules.minimum_spread
        ) as spread
    from observed
    inner join {{ ref('anomaly_rules') }} as rules on observed.metric = rules.metric
    left join lateral (
        select
            count(*) as weeks,
            percentile_cont(0.5) within group (order by past) as median,
            percentile_cont(0.5) within group (order by abs(past - middle.median)) as deviation
        from unnest(observed.history) as past
        cross join (
            select percentile_cont(0.5) within group (order by past) as median
            from unnest(observed.history) as past
        ) as middle
    ) as baseline on rules.detector <> 'threshold'
),

bounded as (
    select
        *,
        case detector when 'threshold' then 0 else median end as expected,
        case
            when direction = 'above' then null
            when detector = 'drop' then median * (1 - threshold)
            else median - threshold * spread
        end as lower_bound,
        case
            when direction = 'below' then null
            when detector = 'threshold' then threshold
            else median + threshold * spread
        end as upper_bound
    from judged
    where
        detector = 'threshold'
        or (weeks >= minimum_history and median >= coalesce(minimum_expected, 0))
),

flagged as (
    select
        *,
        abs(value - expected) / nullif(abs(coalesce(
            case when value >= expected then upper_bound else lower_bound end, 0
        ) - expected), 0) as excess
    from bounded
    where
        (value >= upper_bound and value >= coalesce(minimum_value, 0) and value > 0)
        or value <= lower_bound
),

-- consecutive buckets are one anomaly
runs as (
    select
        *,
        bucket_at - row_number() over (partition by rule, app_id order by bucket_at)
        * grain_minutes * interval '1 minute' as run
    from flagged
),

last_buckets as (
    select metric, app_id, max(bucket_at) as bucket_at
    from observed
    group by metric, app_id
),

anomalies as (
    select
        rule,
        metric,
        kind,
        app_id,
        detector,
        grain_minutes,
        min(bucket_at) as first_seen_at,
        max(bucket_at) as last_seen_at,
        count(*) as buckets,
        case when max(excess) >= min(critical_excess) then 'critical' else 'warning' end as severity,
        {{ worst('bucket_at') }} as bucket_at,
        {{ worst('value') }} as current_value,
        {{ worst('expected') }} as expected_value,
        {{ worst('lower_bound') }} as lower_bound,
        {{ worst('upper_bound') }} as upper_bound
    from runs
    group by rule, metric, kind, app_id, detector, grain_minutes, run
)

select
    -- ids
    md5(anomalies.rule || '|' || anomalies.app_id || '|' || extract(epoch from anomalies.first_seen_at))::uuid
        as anomaly_key,
    anomalies.rule,
    anomalies.metric,
    anomalies.kind,
    anomalies.app_id,
    anomalies.detector,
    anomalies.severity,

    -- times
    anomalies.first_seen_at,
    anomalies.last_seen_at,
    anomalies.bucket_at,
    case
        when anomalies.last_seen_at < last_buckets.bucket_at
            then anomalies.last_seen_at + anomalies.grain_minutes * interval '1 minute'
    end as resolved_at,
    anomalies.grain_minutes,
    anomalies.buckets,

    -- measures
    anomalies.current_value,
    anomalies.expected_value::numeric as expected_value,
    anomalies.lower_bound::numeric as lower_bound,
    anomalies.upper_bound::numeric as upper_bound,
    round(((anomalies.current_value - anomalies.expected_value) / nullif(anomalies.expected_value, 0))::numeric, 4)
        as deviation_rate
from anomalies
inner join last_buckets using (metric, app_id)
