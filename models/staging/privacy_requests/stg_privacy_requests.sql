with

requests as (
    select * from {{ source('raw', 'privacy_requests') }}
    where {{ is_published() }}
)

select
    -- ids
    session_group,
    content_hash,
    request_id,
    app_id,
    anonymous_id,
    user_id,
    -- the address itself stays in raw
    (email is not null) as names_an_email,

    -- what
    request_type,

    -- times
    requested_at
from requests
