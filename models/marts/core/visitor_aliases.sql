{{
    config(
        meta={'touched': {'anonymous_id': ['int_visitor_aliases.anonymous_id']}}
    )
}}

with

aliases as (
    select * from {{ ref('int_visitor_aliases') }}
    where {{ where_touched('anonymous_id') }}
),

users as (
    select anonymous_id, count(distinct user_id) as user_count
    from aliases
    group by anonymous_id
)

select
    aliases.anonymous_id,
    aliases.valid_from,
    aliases.valid_to,
    aliases.user_id,
    aliases.visitor_id,
    aliases.signed_in_at,
    aliases.evidence,
    users.user_count,
    users.user_count > limits.maximum as is_shared_device
from aliases
inner join users using (anonymous_id)
inner join {{ ref('identity_limits') }} as limits on limits.limit_name = 'users_per_anonymous_id'
