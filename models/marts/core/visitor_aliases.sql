{{
    config(
        meta={'touched': {'anonymous_id': ['int_visitor_aliases.anonymous_id']}}
    )
}}

select
    anonymous_id,
    valid_from,
    valid_to,
    user_id,
    visitor_id,
    signed_in_at,
    evidence
from {{ ref('int_visitor_aliases') }}
where {{ where_touched('anonymous_id') }}
