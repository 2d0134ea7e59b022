-- The values that nightly tests accept, for the session groups a refresh touched.
with

listed as materialized (
    select keys.session_group
    from {{ touched(['session_group', 'int_sessions.session_group']) }} as keys (session_group)
)

select 'fct_sessions' as relation, session_group, session_type as value
from {{ ref('fct_sessions') }}
where
    session_group in (select listed.session_group from listed)
    and session_type not in ('conversion', 'bounce', 'exploration', 'standard')
union all
select 'fct_page_views' as relation, session_group, told_by as value
from {{ ref('fct_page_views') }}
where session_group in (select listed.session_group from listed) and told_by not in ('path', 'event')
union all
select 'fct_goals' as relation, session_group, told_by as value
from {{ ref('fct_goals') }}
where session_group in (select listed.session_group from listed) and told_by not in ('session batch', 'event')
union all
select 'fct_llm_requests' as relation, session_group, told_by || ', ' || cost_basis as value
from {{ ref('fct_llm_requests') }}
where
    session_group in (select listed.session_group from listed)
    and (told_by not in ('server', 'browser', 'both') or cost_basis not in ('reported', 'computed', 'unpriced'))
