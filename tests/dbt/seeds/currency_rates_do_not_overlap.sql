-- Two rates on one day: one would be taken, and nobody could say why.
select
    earlier.currency,
    earlier.valid_from,
    later.valid_from as other_valid_from
from {{ ref('currency_rates') }} as earlier
inner join {{ ref('currency_rates') }} as later
    on earlier.currency = later.currency
    and earlier.valid_from < later.valid_from
    and later.valid_from < coalesce(earlier.valid_to, 'infinity')
