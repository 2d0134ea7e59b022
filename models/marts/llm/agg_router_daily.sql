{{
    config(
        meta={
            'touched': {'request_date': ['fct_llm_requests.request_date', 'baseline_date']},
            'touched_type': 'date'
        },
        pre_hook="{{ touch_days_of_changed_baselines() }}"
    )
}}

with

outcomes as (
    {{ request_outcomes(where_touched('request_date')) }}
),

priced_names as (
    select distinct provider, model, service_tier
    from {{ ref('int_llm_rates') }}
    where input_rate is not null
),

-- of two rows for a day the later one
defaults as (
    select
        feature_id, coalesce(provider, '') as provider, model,
        coalesce(valid_from, '-infinity') as valid_from,
        least(
            coalesce(valid_to, 'infinity'),
            lead(valid_from) over (partition by feature_id order by valid_from nulls first)
        ) as valid_to
    from {{ ref('baseline_models') }}
),

-- a model that is told is the request's provider's, if that has a price for it; else whoever's its name says
requests as (
    select
        outcomes.*,
        coalesce(outcomes.was_routed, false) as is_routed,
        case
            when outcomes.was_routed
                then coalesce(outcomes.baseline_model, of_feature.model, of_any.model)
        end as baseline,
        case
            when outcomes.baseline_model is not null then coalesce(priced_names.provider, '')
            when of_feature.model is not null then of_feature.provider
            else of_any.provider
        end as baseline_provider
    from outcomes
    left join priced_names
        on outcomes.was_routed
        and coalesce(outcomes.provider, '') = priced_names.provider
        and outcomes.baseline_model = priced_names.model
        and coalesce(outcomes.service_tier, '') = priced_names.service_tier
    left join defaults as of_feature
        on outcomes.feature_id = of_feature.feature_id
        and of_feature.feature_id <> '*'
        and outcomes.request_date >= of_feature.valid_from and outcomes.request_date < of_feature.valid_to
    left join defaults as of_any
        on of_any.feature_id = '*'
        and outcomes.request_date >= of_any.valid_from and outcomes.request_date < of_any.valid_to
),

compared as (
    select
        requests.*,
        {{ request_cost('') }} as baseline_cost_usd
    from requests
    {{ join_rates_of('requests.baseline_provider', 'requests.baseline') }}
),

-- by baseline too: distinct names of few rows, not of all requests
by_baseline as (
    select
        request_date,
        app_id,
        coalesce(feature_id, 'unattributed') as feature_id,
        coalesce(provider, 'unknown') as provider,
        coalesce(model, 'unknown') as model,
        baseline,
        count(*) as requests,
        count(*) filter (where is_routed) as routed_requests,
        count(router_confidence) filter (where is_routed) as confidence_requests,
        sum(router_confidence) filter (where is_routed) as confidence_sum,
        count(*) filter (where is_routed and went_well) as accurate_requests,
        count(*) filter (where is_routed and baseline is null) as requests_without_baseline,
        count(*) filter (where baseline is not null and baseline_cost_usd is null) as unpriced_baselines,
        count(baseline_cost_usd) filter (where cost_usd is null) as unpriced_requests,
        count(baseline_cost_usd) filter (where cost_usd is not null) as compared_requests,
        sum(cost_usd) as cost_usd,
        sum(cost_usd) filter (where baseline_cost_usd is not null) as compared_cost_usd,
        sum(baseline_cost_usd) filter (where cost_usd is not null) as baseline_cost_usd
    from compared
    group by
        request_date, app_id, coalesce(feature_id, 'unattributed'), coalesce(provider, 'unknown'),
        coalesce(model, 'unknown'), baseline
),

daily as (
    select
        request_date, app_id, feature_id, provider, model,
        array_agg(baseline order by baseline) filter (where baseline is not null) as baseline_models,
        {% for name in [
            'requests', 'routed_requests', 'confidence_requests', 'accurate_requests', 'requests_without_baseline',
            'unpriced_baselines', 'unpriced_requests', 'compared_requests'
        ] %}
        sum({{ name }})::bigint as {{ name }},
        {% endfor %}
        sum(confidence_sum) as confidence_sum,
        sum(cost_usd) as cost_usd,
        sum(compared_cost_usd) as compared_cost_usd,
        sum(baseline_cost_usd) as baseline_cost_usd
    from by_baseline
    group by request_date, app_id, feature_id, provider, model
)

select
    -- ids
    request_date,
    app_id,
    feature_id,
    provider,
    model,

    -- routing
    requests,
    routed_requests,
    {{ ratio('routed_requests', 'requests') }} as routed_rate,
    confidence_requests,
    confidence_sum,
    {{ ratio('confidence_sum', 'confidence_requests') }} as mean_confidence,
    accurate_requests,
    {{ ratio('accurate_requests', 'routed_requests') }} as accuracy_rate,

    -- cost
    cost_usd,
    baseline_models,
    compared_requests,
    requests_without_baseline,
    unpriced_baselines,
    unpriced_requests,
    compared_cost_usd,
    baseline_cost_usd,
    baseline_cost_usd - compared_cost_usd as savings_usd,
    {{ ratio('baseline_cost_usd - compared_cost_usd', 'baseline_cost_usd') }} as savings_rate
from daily
