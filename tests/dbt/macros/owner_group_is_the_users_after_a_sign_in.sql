{{ config(tags=['nightly']) }}

-- A group that signed in belongs to the user's, any other to itself.
with

sent (session_group, expected) as (
    values ('session:anon-1', 'session:u1'), ('session:s2', 'session:s2')
),

merged (session_group, merged_group) as (
    values ('session:anon-1', 'session:u1')
)

select sent.*, {{ owner_group('sent') }} as got
from sent
left join merged on sent.session_group = merged.session_group
where {{ owner_group('sent') }} is distinct from sent.expected
