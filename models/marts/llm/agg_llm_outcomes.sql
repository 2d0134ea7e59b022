{{
    config(
        meta={
            'touched': {'request_date': ['whoever:fct_llm_requests.request_date', 'baseline_date']},
            'touched_type': 'date',
            'emits': ['request_date']
        },
        pre_hook=["{{ touch_days_of_changed_baselines() }}", "{{ count_by_hash() }}"]
    )
}}

{% set told = ['feature_id', 'provider', 'model', 'is_routed', 'baseline_model', 'outcome', 'was_asked_again'] %}
{% set counts = [
    'requests', 'feedback_requests', 'rated_requests', 'confidence_requests', 'priced_requests', 'compared_requests',
    'unpriced_baselines', 'unpriced_requests', 'uncached_input_tokens', 'cache_read_tokens', 'cache_write_tokens',
    'output_tokens', 'reasoning_tokens', 'total_tokens', 'costed_tokens'
] %}

with

asked_again as (
    {{ requests_asked_again(where_touched('request_date')) }}
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
routed as (
    select
        told.*,
        coalesce(told.baseline_model, of_feature.model, of_any.model) as baseline,
        case
            when told.baseline_model is not null then coalesce(priced_names.provider, '')
            when of_feature.model is not null then of_feature.provider
            else of_any.provider
        end as baseline_provider
    from (
        select * from {{ ref('fct_llm_requests') }}
        where was_routed and {{ where_touched('request_date') }}
    ) as told
    left join priced_names
        on coalesce(told.provider, '') = priced_names.provider
        and told.baseline_model = priced_names.model
        and coalesce(told.service_tier, '') = priced_names.service_tier
    left join defaults as of_feature
        on told.feature_id = of_feature.feature_id
        and of_feature.feature_id <> '*'
        and told.request_date >= of_feature.valid_from and told.request_date < of_feature.valid_to
    left join defaults as of_any
        on of_any.feature_id = '*'
        and told.request_date >= of_any.valid_from and told.request_date < of_any.valid_to
),

compared as (
    select requests.*, true as is_routed, {{ request_cost('') }} as baseline_cost_usd
    from routed as requests
    {{ join_rates_of('requests.baseline_provider', 'requests.baseline') }}
    union all
    select requests.*, null as baseline, null as baseline_provider, false as is_routed, null as baseline_cost_usd
    from {{ ref('fct_llm_requests') }} as requests
    where was_routed is not true and {{ where_touched('request_date') }}
),

named as (
    select
        requests.request_date,
        requests.app_id,
        coalesce(requests.feature_id, 'unattributed') as feature_id,
        coalesce(requests.provider, 'unknown') as provider,
        coalesce(requests.model, 'unknown') as model,
        requests.is_routed,
        coalesce(requests.baseline, 'none') as baseline_model,
        {{ request_outcome('requests') }} as outcome,
        asked_again.request_key is not null as was_asked_again,
        requests.rating, requests.feedback, requests.router_confidence, requests.uncached_input_tokens,
        requests.cache_read_tokens, requests.cache_write_tokens, requests.output_tokens, requests.reasoning_tokens,
        requests.total_tokens, requests.cost_usd, requests.baseline_cost_usd
    from compared as requests
    left join asked_again using (session_group, request_key)
),

-- what a rating or a word means is looked up for few rows, not for all requests
counted as (
    select
        request_date, app_id, rating, feedback, {{ told | join(', ') }},
        count(*) as requests,
        count(*) filter (where num_nonnulls(rating, feedback) > 0) as feedback_requests,
        count(rating) as rated_requests,
        count(router_confidence) as confidence_requests,
        count(cost_usd) as priced_requests,
        count(baseline_cost_usd) filter (where cost_usd is not null) as compared_requests,
        count(*) filter (where baseline_model <> 'none' and baseline_cost_usd is null) as unpriced_baselines,
        count(baseline_cost_usd) filter (where cost_usd is null) as unpriced_requests,
        {% for kind in ['uncached_input', 'cache_read', 'cache_write', 'output', 'reasoning', 'total'] %}
        sum({{ kind }}_tokens) as {{ kind }}_tokens,
        {% endfor %}
        sum(total_tokens) filter (where cost_usd is not null) as costed_tokens,
        sum(rating) as rating_sum,
        sum(router_confidence) as confidence_sum,
        sum(cost_usd) as cost_usd,
        sum(cost_usd) filter (where total_tokens is not null) as costed_tokens_usd,
        sum(cost_usd) filter (where baseline_cost_usd is not null) as compared_cost_usd,
        sum(baseline_cost_usd) filter (where cost_usd is not null) as baseline_cost_usd
    from named
    group by request_date, app_id, rating, feedback, {{ told | join(', ') }}
),

judged as (
    select *, coalesce({{ feedback_verdict('counted.app_id', 'rating', 'feedback') }}, 'none') as verdict
    from counted
)

select
    -- ids
    request_date,
    md5((app_id, {{ told | join(', ') }}, verdict)::text)::uuid as outcome_key,
    app_id,
    {{ told | join(', ') }},
    verdict,
    {{ went_well('outcome', 'was_asked_again', 'verdict') }} as went_well,

    -- measures
    {% for name in counts %}
    sum({{ name }})::bigint as {{ name }},
    {% endfor %}
    sum(rating_sum) as rating_sum,
    sum(confidence_sum) as confidence_sum,
    sum(cost_usd) as cost_usd,
    sum(costed_tokens_usd) as costed_tokens_usd,
    sum(compared_cost_usd) as compared_cost_usd,
    sum(baseline_cost_usd) as baseline_cost_usd
from judged
group by request_date, app_id, {{ told | join(', ') }}, verdict
