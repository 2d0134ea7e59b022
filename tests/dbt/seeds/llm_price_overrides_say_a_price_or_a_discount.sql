-- One of the two, of something, from 0 on, over a span that is not empty.
select override_name
from {{ ref('llm_price_overrides') }}
where
    num_nonnulls(price_usd, discount_rate) <> 1
    or (price_usd is not null and unit is null)
    or price_usd < 0
    or discount_rate not between 0 and 1
    or valid_from >= valid_to
