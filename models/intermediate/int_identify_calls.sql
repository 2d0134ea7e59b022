{{
    config(
        meta={'touched': {'session_group': ['session_group']}, 'emits': ['user_id']},
        indexes=[{'columns': ['session_group', 'content_hash'], 'unique': true}, {'columns': ['user_id']}]
    )
}}

-- the same call in two loads is one call
select distinct on (session_group, content_hash)
    session_group,
    content_hash,
    user_id,
    identified_at,
    email_hash,
    name,
    traits
from {{ ref('stg_identifies') }}
where user_id is not null and {{ where_touched_in_raw('session_group', 'received_at') }}
order by session_group, content_hash
