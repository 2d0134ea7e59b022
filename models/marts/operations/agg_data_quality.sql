{{ config(materialized='view') }}

with

-- the ledger tells what came and what was refused, of loads whose rows are gone too
days as (
    select
        stream,
        {{ utc_date('received_at') }} as received_date,
        max(received_at) filter (where loaded > 0) as newest_at,
        sum(records) as records,
        sum(loaded) as loaded,
        sum(rejected) as rejected
    from {{ ref('stg_loads') }}
    group by stream, {{ utc_date('received_at') }}
),

freshness as (
    select
        'freshness' as measure,
        stream as subject,
        {{ utc_date(as_of()) }} as measured_date,
        null::bigint as affected,
        null::numeric as total,
        round(greatest(extract(epoch from {{ as_of() }} - max(newest_at)) / 3600, 0), 2) as value
    from days
    where newest_at is not null
    group by stream
),

-- whole days, from a stream's first on
calendar as (
    select
        stream,
        generate_series(
            min(received_date)::timestamp, {{ utc_date(as_of()) }}::timestamp - interval '1 day', interval '1 day'
        )::date as received_date
    from days
    group by stream
),

-- a day without loads is a day of none
every_day as (
    select calendar.stream, calendar.received_date, coalesce(days.loaded, 0) as loaded
    from calendar
    left join days on calendar.stream = days.stream and calendar.received_date = days.received_date
),

-- what is usual is the median of the same weekday in the four weeks before
usual as (
    select
        today.stream,
        today.received_date,
        percentile_cont(0.5) within group (order by earlier.loaded)::numeric as loaded
    from every_day as today
    inner join every_day as earlier
        on today.stream = earlier.stream
        and today.received_date - earlier.received_date in (7, 14, 21, 28)
    group by today.stream, today.received_date
    having count(*) >= 3
),

volume as (
    select
        'volume' as measure,
        every_day.stream as subject,
        every_day.received_date as measured_date,
        every_day.loaded::bigint as affected,
        usual.loaded as total,
        round(every_day.loaded / nullif(usual.loaded, 0), 4) as value
    from every_day
    inner join usual using (stream, received_date)
),

shares as (
    select
        'rejects' as measure,
        stream as subject,
        received_date as measured_date,
        sum(rejected)::bigint as affected,
        sum(records) as total
    from days
    group by stream, received_date
    union all
    select
        counted.measure,
        loads.stream as subject,
        loads.received_date as measured_date,
        sum(counted.affected)::bigint as affected,
        sum(loads.received_rows) as total
    from {{ ref('fct_load_quality') }} as loads
    inner join lateral (
        values ('duplicates', loads.duplicate_rows), ('late', loads.late_rows), ('clock_ahead', loads.ahead_rows)
    ) as counted (measure, affected) on true
    where loads.received_rows > 0
    group by counted.measure, loads.stream, loads.received_date
    union all
    select
        'missing_batches' as measure,
        'session_batches' as subject,
        started_date as measured_date,
        sum(batches_missing)::bigint as affected,
        sum(batches_seen + batches_missing) as total
    from {{ ref('agg_batch_gaps') }}
    group by started_date
    union all
    select
        'unpriced' as measure,
        'llm_requests' as subject,
        request_date as measured_date,
        sum(unpriced_requests)::bigint as affected,
        sum(requests) as total
    from {{ ref('agg_llm_pricing_daily') }}
    group by request_date
    union all
    select
        'unstitched' as measure,
        'visitors' as subject,
        {{ utc_date('first_seen_at') }} as measured_date,
        count(*) filter (where user_id is null) as affected,
        count(*)::numeric as total
    from {{ ref('agg_visitors') }}
    group by {{ utc_date('first_seen_at') }}
),

measured as (
    select * from freshness
    union all
    select * from volume
    union all
    select *, round(affected / nullif(total, 0), 4) as value
    from shares
)

select
    measured.*,
    limits.limit_value,
    coalesce(
        measured.value < limits.limit_value and measured.measure = 'volume'
        or measured.value > limits.limit_value and measured.measure <> 'volume',
        false
    ) as is_beyond
from measured
left join lateral (
    select limit_value from {{ ref('quality_limits') }}
    where measure = measured.measure and subject in (measured.subject, 'any')
    order by subject = 'any'
    limit 1
) as limits on true
