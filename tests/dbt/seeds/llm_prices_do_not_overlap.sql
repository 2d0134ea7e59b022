-- Two prices of one thing at one time would price a request twice.
select provider, model, variant, valid_from, daily_from, tier_start, unit
from (
    select
        *,
        lead(valid_from) over (
            partition by provider, model, variant, daily_from, tier_start, unit order by valid_from
        ) as next_from,
        lead(daily_from) over (
            partition by provider, model, variant, valid_from, tier_start, unit order by daily_from
        ) as next_daily_from
    from {{ ref('llm_prices') }}
) as prices
where
    price_usd < 0
    or coalesce(valid_to, 'infinity') > next_from
    or coalesce(daily_to, '24:00') > next_daily_from
