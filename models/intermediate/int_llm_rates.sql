{{
    config(
        meta={'touched': {'name_key': ['llm_name']}, 'touched_type': 'uuid', 'emits': ['name_key']},
        indexes=[{'columns': ['name_key']}],
        pre_hook="{{ touch_names_of_changed_seeds() }}"
    )
}}

{% set units = llm_units() %}

with

names as (
    select * from {{ ref('int_llm_names') }}
    where {{ where_touched('name_key') }}
),

-- of the list, and on top an analyst's own word on a name as it is told or as the list knows it
offers as (
    select
        names.name_key, false as is_own, prices.unit, prices.price_usd, null::numeric as discount_rate,
        0 as precision, prices.valid_from, prices.valid_to, prices.daily_from, prices.daily_to, prices.tier_start
    from names
    inner join {{ ref('llm_prices') }} as prices
        on names.price_provider = prices.provider
        and names.price_model = prices.model
        and names.variant = prices.variant
    union all
    select
        names.name_key, true, unit.name, own.price_usd, own.discount_rate,
        length(coalesce(own.model, '')), own.valid_from, own.valid_to, null, null, coalesce(own.tier_start, 0)
    from names
    inner join {{ ref('llm_price_overrides') }} as own
        on {{ fits_pattern('names.provider', 'names.price_provider', 'own.provider') }}
        and {{ fits_pattern('names.model', 'names.price_model', 'own.model') }}
        and (own.variant is null or lower(own.variant) = lower(names.service_tier))
    cross join
        unnest(array['{{ units | join("', '") }}']) as unit (name)
    where own.unit is null or own.unit = unit.name
),

spans as (
    select
        name_key, is_own, unit, price_usd, discount_rate, precision, tier_start,
        coalesce(valid_from::timestamp at time zone 'UTC', '-infinity') as valid_from,
        coalesce(valid_to::timestamp at time zone 'UTC', 'infinity') as valid_to,
        coalesce(daily_from, '00:00') as daily_from,
        coalesce(daily_to, '24:00') as daily_to
    from offers
),

-- between two neighbouring days no price of a name changes; likewise times of day and sizes of input
days as (
    select name_key, bound as valid_from, lead(bound) over (partition by name_key order by bound) as valid_to
    from (
        select name_key, valid_from as bound from spans
        union
        select name_key, valid_to from spans
    ) as bounds
),

times as (
    select name_key, bound as daily_from, lead(bound) over (partition by name_key order by bound) as daily_to
    from (
        select name_key, daily_from as bound from spans
        union
        select name_key, daily_to from spans
    ) as bounds
),

tiers as (
    select name_key, bound as tier_start, lead(bound) over (partition by name_key order by bound) as tier_end
    from (
        select name_key, tier_start as bound from spans
        union
        select name_key, 0 from spans
    ) as bounds
),

priced as (
    select
        days.name_key, days.valid_from, days.valid_to, times.daily_from, times.daily_to,
        tiers.tier_start, tiers.tier_end, spans.unit,
        {{ foremost('price_usd', 'not spans.is_own') }} as list_price,
        {{ foremost('price_usd', 'spans.is_own') }} as own_price,
        {{ foremost('discount_rate', 'spans.is_own') }} as discount_rate
    from days
    inner join times on days.name_key = times.name_key
    inner join tiers on days.name_key = tiers.name_key
    inner join spans
        on days.name_key = spans.name_key
        and days.valid_from >= spans.valid_from and days.valid_from < spans.valid_to
        and times.daily_from >= spans.daily_from and times.daily_from < spans.daily_to
        and tiers.tier_start >= spans.tier_start
    group by 1, 2, 3, 4, 5, 6, 7, 8
),

-- USD per token, and per request; a kind without a price of its own costs what the kind does that holds it
rates as (
    select
        name_key, valid_from, valid_to, daily_from, daily_to, tier_start, tier_end,
        {{ pivoted_prices('price') }},
        {{ pivoted_prices('list_price') }},
        bool_or(num_nonnulls(own_price, discount_rate) > 0) as is_overridden
    from (select *, coalesce(own_price, list_price * (1 - coalesce(discount_rate, 0))) as price from priced) as final
    group by 1, 2, 3, 4, 5, 6, 7
),

final as (
    select
        -- ids
        names.name_key, names.provider, names.model, names.service_tier,
        names.price_provider, names.price_model, names.variant,

        -- when and for what size of input
        coalesce(rates.valid_from, '-infinity') as valid_from,
        coalesce(rates.valid_to, 'infinity') as valid_to,
        coalesce(rates.daily_from, '00:00') as daily_from,
        coalesce(rates.daily_to, '24:00') as daily_to,
        coalesce(rates.tier_start, 0) as tier_start,
        rates.tier_end,
        coalesce(rates.is_overridden, false) as is_overridden,

        -- how tokens are counted
        coalesce(rules.input_includes_cached, any_rule.input_includes_cached) as input_includes_cached,
        coalesce(rules.output_includes_reasoning, any_rule.output_includes_reasoning) as output_includes_reasoning,

        -- rates
        {{ rate_columns('price') }},
        {{ rate_columns('list_price') }}
    from names
    left join rates on names.name_key = rates.name_key
    left join {{ ref('llm_token_rules') }} as rules
        on rules.provider = coalesce(names.price_provider, lower(names.provider))
    inner join {{ ref('llm_token_rules') }} as any_rule on any_rule.provider = '*'
)

-- of what decides a cost and of nothing else: a price that held longer than was known is the same price
select
    *,
    left(
        md5((
            {{ rate_names('price') }}, {{ rate_names('list_price') }}, price_provider, price_model, variant,
            input_includes_cached, output_includes_reasoning
        )::text),
        12
    ) as price_version
from final
