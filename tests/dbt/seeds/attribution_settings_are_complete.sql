-- Attribution needs each number, and such as leave somebody a credit.
with

settings as (
    select
        max(value) filter (where setting = 'lookback_days') as lookback_days,
        max(value) filter (where setting = 'max_touches') as max_touches,
        max(value) filter (where setting = 'half_life_days') as half_life_days,
        max(value) filter (where setting = 'first_share') as first_share,
        max(value) filter (where setting = 'last_share') as last_share
    from {{ ref('attribution_settings') }}
)

select * from settings
where (
    lookback_days > 0
    and max_touches >= 1
    and max_touches = floor(max_touches)
    and half_life_days > 0
    and first_share >= 0
    and last_share >= 0
    and first_share + last_share > 0
    and first_share + last_share <= 1
) is not true
