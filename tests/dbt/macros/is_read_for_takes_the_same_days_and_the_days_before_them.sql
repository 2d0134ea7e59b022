{{ config(tags=['nightly']) }}

-- Of a week's season: the nine days before, and each same weekday with its eve, eight weeks back.
with

days as (
    select
        days_before,
        {{ is_read_for('days_before', '7') }} as by_week,
        {{ is_read_for('days_before', '1') }} as by_day
    from generate_series(-2, 70) as days_before
)

select 'by week' as season, array_agg(days_before order by days_before) as days from days
where by_week
having array_agg(days_before order by days_before) <> array[
        0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 14, 15, 21, 22, 28, 29, 35, 36, 42, 43, 49, 50, 56, 57
    ]
union all
select 'by day', array_agg(days_before order by days_before) from days
where by_day
having array_agg(days_before order by days_before) <> array[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
