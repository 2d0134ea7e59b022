{{ config(materialized='view') }}

-- what depends on now, and on what other marts know of the ids, is decided when it is read
select
    -- ids
    visitors.visitor_id,
    visitors.user_id,
    visitors.anonymous_ids,
    visitors.display_name,

    -- times
    visitors.first_seen_at,
    visitors.last_seen_at,
    visitors.returned_at,

    -- what kind of visitor
    (
        select stages.stage
        from {{ ref('lifecycle_stages') }} as stages
        where
            (
                stages.first_seen_days is null
                or visitors.first_seen_at >= {{ as_of() }} - stages.first_seen_days * interval '1 day'
            )
            and (
                stages.last_seen_days is null
                or visitors.last_seen_at >= {{ as_of() }} - stages.last_seen_days * interval '1 day'
            )
            and (
                stages.returned_days is null
                or visitors.returned_at >= {{ as_of() }} - stages.returned_days * interval '1 day'
            )
        order by stages.stage_order
        limit 1
    ) as lifecycle_stage,
    visitors.plan,
    coalesce((
        select bool_or(aliases.is_shared_device)
        from {{ ref('visitor_aliases') }} as aliases
        where aliases.anonymous_id = any(visitors.anonymous_ids)
    ), false) as uses_shared_device,

    -- first touch
    visitors.first_app_id,
    visitors.first_source,
    visitors.first_medium,
    visitors.first_campaign,
    visitors.first_landing_page,

    -- measures
    visitors.total_sessions,
    visitors.total_events,
    visitors.total_page_views,
    visitors.converted_sessions,
    visitors.llm_cost_usd
from {{ ref('agg_visitors') }} as visitors
