{{ config(materialized='table') }}

with

verdicts as (
    select
        verdicts.*,
        rules.critical_excess,
        greatest(rules.cool_down_minutes, verdicts.grain_minutes) * interval '1 minute' as cool_down,
        metrics.label,
        metrics.unit
    from {{ ref('fct_bucket_verdicts') }} as verdicts
    inner join {{ ref('anomaly_rules') }} as rules on verdicts.rule = rules.rule
    inner join {{ ref('metrics') }} as metrics on verdicts.metric = metrics.metric
    left join {{ ref('suppressed_periods') }} as periods
        on
        verdicts.bucket_at >= periods.from_at and verdicts.bucket_at < periods.to_at
        and verdicts.app_id = coalesce(periods.app_id, verdicts.app_id)
        and verdicts.kind = coalesce(periods.kind, verdicts.kind)
    where periods.from_at is null
),

-- buckets no farther apart than the rule cools down are one anomaly
started as (
    select
        *,
        coalesce(bucket_at - lag(bucket_at) over in_order > cool_down, true) as is_first
    from verdicts
    window in_order as (partition by rule, series_key order by bucket_at)
),

runs as (
    select *, count(*) filter (where is_first) over (partition by rule, series_key order by bucket_at) as run
    from started
),

anomalies as (
    select
        rule,
        series_key,
        metric,
        kind,
        app_id,
        scope,
        scope_value,
        detector,
        grain_minutes,
        label,
        unit,
        min(bucket_at) as first_seen_at,
        max(bucket_at) as last_seen_at,
        count(*) as buckets,
        case when max(excess) >= min(critical_excess) then 'critical' else 'warning' end as severity,
        {{ worst('bucket_at') }} as bucket_at,
        {{ worst('current') }} as current,
        {{ worst('expected') }} as expected,
        {{ worst('lower') }} as lower,
        {{ worst('upper') }} as upper,
        {{ worst('judged_by') }} as judged_by,
        {{ worst('contributors') }} as contributors
    from runs
    group by
        rule, series_key, run, metric, kind, app_id, scope, scope_value, detector, grain_minutes, label, unit
),

-- of a series that is watched no longer there is none
latest as (
    select series_key, max(bucket_at) as known_at
    from {{ ref('metric_observations') }}
    where
        value is not null
        and bucket_date >= {{ utc_date(as_of()) }} - {{ anomaly_setting('watched_days') }}::integer - 1
    group by series_key
)

select
    -- ids
    anomalies.rule || ' ' || (anomalies.app_id, anomalies.scope_value)::text || ' '
    || to_char(anomalies.first_seen_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI"Z"') as anomaly_key,
    anomalies.rule,
    anomalies.metric,
    anomalies.kind,
    anomalies.app_id,
    anomalies.scope,
    anomalies.scope_value,
    case when anomalies.scope = 'workspace' then anomalies.scope_value end as workspace_id,
    anomalies.detector,
    anomalies.severity,

    -- times
    anomalies.first_seen_at,
    anomalies.last_seen_at,
    case
        when anomalies.last_seen_at < coalesce(latest.known_at, 'infinity')
            then anomalies.last_seen_at + anomalies.grain_minutes * interval '1 minute'
    end as resolved_at,
    anomalies.bucket_at,
    anomalies.grain_minutes,
    anomalies.buckets,

    -- measures
    anomalies.current,
    anomalies.expected,
    anomalies.lower,
    anomalies.upper,
    round((anomalies.current - anomalies.expected) / nullif(abs(anomalies.expected), 0), 4) as deviation,
    anomalies.judged_by,

    -- words
    anomalies.label || ' in ' || anomalies.app_id
    || case when anomalies.scope = 'workspace' then ', workspace ' || anomalies.scope_value else '' end
    || case when anomalies.unit = 'count' and anomalies.current <> 1 then ' were ' else ' was ' end
    || {{ spoken('anomalies.current', 'anomalies.unit') }}
    || ' against ' || {{ spoken('anomalies.expected', 'anomalies.unit') }} || ' expected'
    || case
        when anomalies.lower is null and anomalies.upper is null then ''
        when anomalies.lower is null then ' (below ' || {{ spoken('anomalies.upper', 'anomalies.unit') }} || ')'
        when anomalies.upper is null then ' (above ' || {{ spoken('anomalies.lower', 'anomalies.unit') }} || ')'
        else
            ' (' || {{ spoken('anomalies.lower', 'anomalies.unit') }} || '–'
            || {{ spoken('anomalies.upper', 'anomalies.unit') }} || ')'
    end
    || case
        when anomalies.grain_minutes >= 1440 then to_char(anomalies.bucket_at at time zone 'UTC', '" on "YYYY-MM-DD')
        else to_char(anomalies.bucket_at at time zone 'UTC', '" at "YYYY-MM-DD HH24:MI" UTC"')
    end
    || coalesce('; ' || (
        select
            case
                when (foremost.part ->> 'change')::numeric / nullif(anomalies.current - anomalies.expected, 0) > 0.5
                    then 'most'
                else 'some'
            end
            || ' of the difference is ' || (foremost.part ->> 'kind') || ' ' || (foremost.part ->> 'name')
        from jsonb_array_elements(anomalies.contributors) with ordinality as foremost (part, place)
        where foremost.part ->> 'name' not in ('(none)', 'unattributed')
        order by foremost.place
        limit 1
    ), '') as explanation,
    anomalies.contributors
from anomalies
left join latest using (series_key)
