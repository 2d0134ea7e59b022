{{ config(materialized='view') }}

{% set rules = {
    'cheaper_model': ref('agg_cheaper_models'), 'cache': ref('agg_cacheable_features'),
    'slow_model': ref('agg_slow_models'), 'unused_feature': ref('agg_unused_features'),
    'error_hot_spot': ref('agg_error_hot_spots'), 'growth': ref('agg_growing_usage')
} %}

with

found as (
    {% for rule, relation in rules.items() %}
    select
        '{{ rule }}' as rule,
        scope, app_id, workspace_id, feature_id, provider, model, suggestion,
        title, evidence, estimated_saving_usd, severity
    from {{ relation }}
    {{ 'union all' if not loop.last }}
    {% endfor %}
),

ranked as (
    select
        *,
        -- of what it is about, never of numbers: the same in every run
        md5((rule, scope, app_id, workspace_id, feature_id, provider, model, suggestion)::text)::uuid
            as recommendation_key,
        case
            when
                estimated_saving_usd >= {{ rule_threshold('priority', 'high_saving_usd') }}
                or (estimated_saving_usd is null and severity >= {{ rule_threshold('priority', 'high_severity') }})
                then 'high'
            when
                estimated_saving_usd >= {{ rule_threshold('priority', 'medium_saving_usd') }}
                or (estimated_saving_usd is null and severity >= {{ rule_threshold('priority', 'medium_severity') }})
                then 'medium'
            else 'low'
        end as priority
    from found
)

select
    -- ids
    ranked.recommendation_key,
    ranked.rule,
    ranked.scope,
    ranked.app_id,
    ranked.workspace_id,
    ranked.feature_id,
    ranked.provider,
    ranked.model,
    ranked.suggestion,

    -- what and why
    ranked.title,
    ranked.evidence,
    ranked.estimated_saving_usd,
    ranked.severity,
    ranked.priority,

    -- what became of it
    true as is_current,
    sightings.first_seen_at,
    coalesce(decisions.state, 'open') as state,
    decisions.decided_at,
    decisions.decided_by,
    decisions.note
from ranked
left join {{ ref('stg_recommendation_decisions') }} as decisions using (recommendation_key)
left join {{ ref('stg_recommendation_sightings') }} as sightings using (recommendation_key)
union all
-- what was decided stays, with the numbers it was decided by, when its rule no longer says it
select
    decisions.recommendation_key,
    decisions.rule,
    decisions.scope,
    decisions.app_id,
    decisions.workspace_id,
    decisions.feature_id,
    decisions.provider,
    decisions.model,
    decisions.suggestion,
    decisions.title,
    decisions.evidence,
    decisions.estimated_saving_usd,
    decisions.severity,
    decisions.priority,
    false as is_current,
    sightings.first_seen_at,
    decisions.state,
    decisions.decided_at,
    decisions.decided_by,
    decisions.note
from {{ ref('stg_recommendation_decisions') }} as decisions
left join {{ ref('stg_recommendation_sightings') }} as sightings using (recommendation_key)
where
    decisions.state <> 'open'
    and not exists (
        select from ranked
        where ranked.recommendation_key = decisions.recommendation_key
    )
