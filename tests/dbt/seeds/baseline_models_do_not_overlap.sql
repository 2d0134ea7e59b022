-- Two baselines of a feature on one day: one would be taken, and nobody could say why.
select
    earlier.feature_id,
    earlier.valid_from,
    later.valid_from as other_valid_from
from {{ ref('baseline_models') }} as earlier
inner join {{ ref('baseline_models') }} as later
    on earlier.feature_id = later.feature_id
    and coalesce(earlier.valid_from, '-infinity') < later.valid_from
    and later.valid_from < coalesce(earlier.valid_to, 'infinity')
