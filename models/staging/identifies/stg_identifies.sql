with

identifies as (
    select * from {{ source('raw', 'identifies') }}
    where not withheld and load_id in {{ published_loads() }}
)

select
    -- ids
    session_group,
    content_hash,
    identify_id,
    app_id,
    session_id,
    anonymous_id,
    user_id,

    -- times
    occurred_at as identified_at,
    received_at,

    -- who; name and e-mail address stay in raw
    {{ scrubbed_json("(properties - '{email,user_email,userEmail,name,user_name,userName}'::text[])") }} as traits
from identifies
where {{ is_credible('occurred_at') }}
