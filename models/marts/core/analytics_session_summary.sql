{{ config(materialized='view') }}

{% set columns = ['workspace_id', 'project_id', 'team_id', 'org_id', 'plan', 'experiment_variant'] %}
{% set metadata_keys = {
    'subscription_status': 'subscriptionStatus', 'feature_flag': 'featureFlag', 'user_role': 'userRole',
    'feature_beta_enabled': 'featureBetaEnabled', 'account_type': 'accountType', 'workspace_size': 'workspaceSize'
} %}

with

-- a group of kind session holds its session id
visits as (
    select
        {% for name, other_name in metadata_keys.items() %}
        {{ metadata_value(name, other_name) }} as {{ name }},
        {% endfor %}
        *
    from {{ ref('fct_sessions') }}
    where session_group like 's:%'
),

sessions as (
    select
        session_group,
        substr(session_group, 3) as session_id,
        {% for name in ['user_id'] + columns + metadata_keys | list %}
        (array_agg({{ name }} order by started_at desc, {{ name }}) filter (where {{ name }} is not null))[1]
            as {{ name }},
        {% endfor %}
        min(started_at) as started_at,
        max(ended_at) as ended_at,
        sum(duration_seconds) as duration_seconds,
        sum(batch_count)::bigint as batch_count,
        (array_agg(entry_page order by started_at) filter (where entry_page is not null))[1] as entry_point,
        (array_agg(exit_page order by started_at desc) filter (where exit_page is not null))[1] as exit_point,
        sum(pages_visited)::bigint as pages_visited,
        sum(interaction_count) as interaction_count,
        count(*) filter (where converted) as conversions,
        sum(llm_request_count) as llm_request_count,
        sum(llm_tokens)::bigint as llm_token_usage,
        sum(llm_cost_usd) as llm_cost_usd
    from visits
    group by session_group
)

-- each map and list is looked up for the sessions a query shows, and only if it shows it
select
    -- ids
    sessions.session_id,
    sessions.user_id,
    {% for name in columns %}
    sessions.{{ name }},
    {% endfor %}

    -- times
    sessions.started_at,
    sessions.ended_at,
    round(sessions.duration_seconds * 1000)::bigint as session_duration_ms,

    -- path
    array(
        select path
        from {{ ref('fct_sessions') }} as visits
        cross join lateral unnest(visits.path_sequence) with ordinality as page (path, place)
        where visits.session_group = sessions.session_group
        order by visits.started_at, place
    ) as path_sequence,
    array(
        select (extract(epoch from visits.started_at - sessions.started_at) * 1000)::bigint + timing
        from {{ ref('fct_sessions') }} as visits
        cross join lateral unnest(visits.path_timings_ms) with ordinality as page (timing, place)
        where visits.session_group = sessions.session_group
        order by visits.started_at, place
    ) as path_timings,
    sessions.entry_point,
    sessions.exit_point,
    sessions.pages_visited,
    sessions.pages_visited = 1 as bounce_session,

    -- what happened
    {% for kind, column in {'interaction': 'interaction_summary', 'feature': 'feature_interactions'}.items() %}
    coalesce((
        select jsonb_object_agg(counters.name, counters.count)
        from (
            select rises.name, sum(rises.rise) as count
            from {{ ref('int_batch_counters') }} as rises
            where rises.session_group = sessions.session_group and rises.kind = '{{ kind }}'
            group by rises.name
        ) as counters
    ), '{}') as {{ column }},
    {% endfor %}
    coalesce((
        select jsonb_object_agg(goals.goal_name, {{ json_time('goals.reached_at') }} order by goals.reached_at)
        from {{ ref('fct_goals') }} as goals
        where goals.session_group = sessions.session_group
    ), '{}') as goal_events,
    coalesce((
        select jsonb_object_agg(loads.name, {{ to_number('loads.value') }} order by loads.seen_at, loads.value)
        from {{ ref('int_batch_values') }} as loads
        where
            loads.session_group = sessions.session_group
            -- 0 and 1 ms are artefacts
            and loads.kind = 'load' and {{ to_number('loads.value') }} > 1
    ), '{}') as page_load_times,
    coalesce((
        select
            jsonb_agg(
                jsonb_strip_nulls(jsonb_build_object(
                    'type', errors.error_type, 'page', errors.page, 'message', errors.message,
                    'time', (extract(epoch from errors.occurred_at - sessions.started_at) * 1000)::bigint
                ))
                order by errors.occurred_at, errors.error_id
            )
        from {{ ref('fct_errors') }} as errors
        where errors.session_group = sessions.session_group
    ), '[]') as error_events,
    {{ session_type('sessions.conversions', 'sessions.pages_visited', 'sessions.interaction_count') }} as session_type,
    sessions.conversions > 0 as conversion_achieved,
    sessions.batch_count,

    -- llm; what was asked and has no price is unknown, not zero
    coalesce((
        select
            jsonb_agg(
                jsonb_build_object(
                    'model', requests.model, 'tokens', requests.total_tokens,
                    'cost', requests.cost_usd, 'timestamp', {{ json_time('requests.requested_at') }}
                )
                order by requests.requested_at, requests.request_key
            )
        from {{ ref('fct_llm_requests') }} as requests
        where requests.session_group = sessions.session_group
    ), '[]') as llm_interactions,
    sessions.llm_token_usage,
    case when sessions.llm_request_count > 0 then sessions.llm_cost_usd else 0 end as llm_cost_estimate,

    -- metadata
    coalesce((
        select jsonb_object_agg(pair.key, pair.value order by visits.started_at)
        from {{ ref('fct_sessions') }} as visits
        cross join lateral jsonb_each(visits.metadata) as pair
        where visits.session_group = sessions.session_group
    ), '{}') as metadata,
    {% for name in metadata_keys if name != 'workspace_size' %}
    sessions.{{ name }},
    {% endfor %}
    {{ to_number('sessions.workspace_size') }}::bigint as workspace_size
from sessions
