{{
    config(
        meta={'touched': {'load_id': ['unmeasured_load']}, 'touched_type': 'bigint'},
        pre_hook=["{{ touch_unmeasured_loads() }}", "{{ plan_whole_build(always=true) }}"]
    )
}}

with

-- the rows of days before the horizon are purged
loads as (
    select * from {{ ref('stg_loads') }}
    where received_at >= (select ops.horizon()) and {{ where_touched('load_id') }}
),

span as (
    select
        min(received_at) - {{ quality_setting('duplicate_hours') }} * interval '1 hour' as from_at,
        max(received_at) as to_at
    from loads
),

received as not materialized (
    select * from {{ ref('stg_received_rows') }}
    where
        received_at >= (select from_at from span) and received_at <= (select to_at from span)
        and {{ received_about_unmeasured_loads('received_at') }}
),

-- of what came before the loads only that is read which came with them again
told as (
    select
        *,
        lag(received_at) over (partition by stream, content_hash order by load_id, line_number, element)
            as sent_before_at
    from received
    {% if is_incremental() %}
    where
        (stream, content_hash) in (
            select again.stream, again.content_hash from received as again
            where again.load_id in (select loads.load_id from loads)
        )
    {% endif %}
),

measured as (
    select
        load_id,
        count(*) as received_rows,
        count(*) filter (
            where sent_before_at >= received_at - {{ quality_setting('duplicate_hours') }} * interval '1 hour'
        ) as duplicate_rows,
        count(*) filter (
            where happened_at < received_at - {{ quality_setting('late_hours') }} * interval '1 hour'
        ) as late_rows,
        count(*) filter (
            where happened_at > received_at + {{ quality_setting('ahead_seconds') }} * interval '1 second'
        ) as ahead_rows,
        max(extract(epoch from happened_at - received_at)) as most_seconds_ahead
    from told
    where load_id in (select load_id from loads)
    group by load_id
)

select
    -- ids
    loads.load_id,
    loads.stream,

    -- times
    loads.received_at,
    {{ utc_date('loads.received_at') }} as received_date,

    -- measures
    coalesce(measured.received_rows, 0) as received_rows,
    coalesce(measured.duplicate_rows, 0) as duplicate_rows,
    coalesce(measured.late_rows, 0) as late_rows,
    coalesce(measured.ahead_rows, 0) as ahead_rows,
    greatest(measured.most_seconds_ahead, 0) as most_seconds_ahead
from loads
left join measured on loads.load_id = measured.load_id
