{{ config(tags=['nightly']) }}

-- Two days at 10 and 11 o'clock, by the same hour of the day: 4, 6, then 10, 8. On the second day at ten the median is
-- 4 and the level of the day before 5; at eleven the median is 6, and the level that of 6 and 10.
with

given (series_key, season_days, grain_minutes, bucket_at, value) as (
    values
    (1, 1, 60, timestamptz '2026-03-30 10:00+00', 4::numeric),
    (1, 1, 60, timestamptz '2026-03-30 11:00+00', 6),
    (1, 1, 60, timestamptz '2026-03-31 10:00+00', 10),
    (1, 1, 60, timestamptz '2026-03-31 11:00+00', 8)
),

{{ baselines_of('given') }},

expected (bucket_at, seasons, expected, usual_level, seasonal_residual, smoothed_residual, first_difference) as (
    values
    (timestamptz '2026-03-30 10:00+00', 0, null::numeric, null::numeric, null::numeric, null::numeric, null::numeric),
    (timestamptz '2026-03-30 11:00+00', 0, null, 4, null, null, 2),
    (timestamptz '2026-03-31 10:00+00', 1, 4, 5, 6, 6, 4),
    (timestamptz '2026-03-31 11:00+00', 1, 6, 8, 2, 4, -2)
)

select baselines.* from baselines
inner join expected using (bucket_at)
where
    (
        baselines.seasons, baselines.expected, baselines.usual_level, baselines.seasonal_residual,
        baselines.smoothed_residual, baselines.first_difference
    ) is distinct from (
        expected.seasons, expected.expected, expected.usual_level, expected.seasonal_residual,
        expected.smoothed_residual, expected.first_difference
    )
