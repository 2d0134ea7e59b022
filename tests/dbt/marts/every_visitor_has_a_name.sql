{{ config(tags=['nightly']) }}

-- Whoever has a visit is a visitor with a name of two words.
select sessions.visitor_id, visitors.display_name
from {{ ref('fct_sessions') }} as sessions
left join {{ ref('dim_visitors') }} as visitors on sessions.visitor_id = visitors.visitor_id
where visitors.display_name !~ '^[^ ]+ [^ ]+' or visitors.display_name is null
