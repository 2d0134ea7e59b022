{{ config(tags=['nightly']) }}

-- The spans of an anonymous id follow one another without a gap, from the beginning to now, and name the user's
-- visitor.
with

ordered as (
    select
        anonymous_id,
        user_id,
        visitor_id,
        valid_from,
        valid_to,
        lag(valid_to) over by_time as previous_to,
        row_number() over by_time as span,
        count(*) over (partition by anonymous_id) as spans
    from {{ ref('visitor_aliases') }}
    window by_time as (partition by anonymous_id order by valid_from nulls first)
)

select *
from ordered
where
    (span = 1) <> (valid_from is null)
    or (span = spans) <> (valid_to is null)
    or (span > 1 and valid_from is distinct from previous_to)
    or valid_to < valid_from
    or visitor_id <> {{ visitor_id('user_id', 'null::text', 'null::text') }}
