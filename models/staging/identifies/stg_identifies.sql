{% set addresses = ['email', 'user_email', 'userEmail', 'email_address', 'emailAddress'] %}
{% set names = [
    'name', 'user_name', 'userName', 'full_name', 'fullName', 'first_name', 'firstName', 'last_name', 'lastName'
] %}
{% set kept_in_raw = addresses + (names if not var('keep_names') else []) %}

with

identifies as (
    select * from {{ source('raw', 'identifies') }}
    where not withheld and {{ is_published() }}
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

    -- who; the address stays in raw, and so do names unless they are to be kept
    ops.keyed_hash(lower(btrim(email))) as email_hash,
    {{ scrubbed('name') if var('keep_names') else 'null::text' }} as name,
    {{ scrubbed_json("(properties - '{" ~ kept_in_raw | join(',') ~ "}'::text[])") }} as traits
from identifies
where {{ is_credible('occurred_at') }} and {{ is_not_opted_out('occurred_at') }}
