{{ config(tags=['nightly']) }}

-- ISO weeks begin on Monday, whatever the year; February has 29 days in 2024; a quarter is three months.
with

cases (period, day, first_day, next_day) as (
    values
    ('day', date '2024-02-29', date '2024-02-29', date '2024-03-01'),
    ('week', date '2021-01-03', date '2020-12-28', date '2021-01-04'),
    ('week', date '2024-12-30', date '2024-12-30', date '2025-01-06'),
    ('month', date '2024-02-29', date '2024-02-01', date '2024-03-01'),
    ('month', date '2026-02-28', date '2026-02-01', date '2026-03-01'),
    ('quarter', date '2026-12-31', date '2026-10-01', date '2027-01-01'),
    ('quarter', date '2024-02-29', date '2024-01-01', date '2024-04-01'),
    ('year', date '2024-12-31', date '2024-01-01', date '2025-01-01')
),

got as (
    select
        *,
        {{ period_start('period', 'day') }} as got_first_day,
        ({{ period_start('period', 'day') }} + {{ period_length('period') }})::date as got_next_day
    from cases
)

select * from got
where got_first_day is distinct from first_day or got_next_day is distinct from next_day
