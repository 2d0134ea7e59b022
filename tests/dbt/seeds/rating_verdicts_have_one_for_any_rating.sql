-- A rating below all bands would mean nothing.
select count(*) as bands
from {{ ref('rating_verdicts') }}
where app_id = '*' and rating_from = '-Infinity'
having count(*) <> 1
