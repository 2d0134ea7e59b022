{{
    config(
        meta={'touched': {'session_group': ['session_group', 'int_sessions.session_group']}},
        indexes=[{'columns': ['event_date', 'app_id']}, {'columns': ['user_id', 'occurred_at']}]
    )
}}

-- depends_on: {{ ref('stg_closed_events') }}, {{ ref('int_sessions') }}
{% set columns = contracted_columns('fct_audit_events') %}

with

events as (
    select * from {{ ref('fct_events') }}
    where retention_class in ('audit', 'security') and {{ where_touched('session_group') }}
)

select {{ columns | join(', ') or '*' }} from events
{% if columns %}
union all
-- a closed event stands as it was, but for whose it is: a later sign-in tells that
select
    {{ recorded_columns(columns, 'event', instead=[
        'session_group', 'event_id', 'session_key', 'visitor_id', 'user_id', 'retention_class', 'occurred_at'
    ]) }}
from (
    select
        told.session_group,
        told.event_id,
        told.session_key,
        told.occurred_at,
        told.retention_class,
        told.event,
        visits.visitor_id,
        coalesce(told.event ->> 'user_id', visits.user_id) as user_id
    from {{ ref('stg_closed_events') }} as told
    inner join {{ ref('int_sessions') }} as visits
        on told.session_group = visits.session_group and told.session_key = visits.session_key
    where {{ where_touched('told.session_group') }}
) as closed
{% endif %}
