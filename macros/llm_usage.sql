{# A share or mean of counts and sums that stand beside it; null where there is nothing to divide by. #}
{% macro ratio(numerator, denominator, digits=6) -%}
    trim_scale(round(({{ numerator }})::numeric / nullif({{ denominator }}, 0), {{ digits }}))
{%- endmacro %}


{# Whether a request failed, by what its producer says. #}
{% macro has_failed(status, status_code) -%}
    coalesce(lower({{ status }}) in ('error', 'failed', 'failure', 'timeout'), false) or coalesce({{ status_code }} >= 400, false)
{%- endmacro %}


{# A number of the seed llm_settings. #}
{% macro llm_setting(setting) -%}
    (
        select settings.value from {{ ref('llm_settings') }} as settings
        where settings.setting = '{{ setting }}'
    )
{%- endmacro %}


{# What feedback means: by the rating, else by a word that is all of it; null where neither tells. #}
{% macro feedback_verdict(app_id, rating, feedback) -%}
    coalesce(
        case
            when {{ rating }} is not null then (
                select bands.verdict from {{ ref('rating_verdicts') }} as bands
                where bands.app_id in ({{ app_id }}, '*') and bands.rating_from <= {{ rating }}
                order by bands.app_id = '*', bands.rating_from desc
                limit 1
            )
        end,
        case
            when {{ feedback }} is not null then (
                select words.verdict from {{ ref('feedback_words') }} as words
                where words.word = lower(trim({{ feedback }}))
            )
        end
    )
{%- endmacro %}


{#
    Of the requests for which the condition on request_date holds, those that were asked again: all of it is found within
    the UTC day, so that a day can be built by itself.
#}
{% macro requests_asked_again(condition) -%}
    with

    -- read once: most requests name no message and no chat
    candidates as (
        select
            session_group, request_key, request_date, app_id, message_id, chat_id, requested_at,
            regenerated,
            stopped or status = 'stopped' as is_stopped
        from {{ ref('fct_llm_requests') }}
        where (regenerated or message_id is not null or chat_id is not null) and {{ condition }}
    )

    select session_group, request_key
    from candidates
    where regenerated
    union
    -- the same message, later
    select asked.session_group, asked.request_key
    from candidates as asked
    inner join (
        select request_date, app_id, message_id, max(requested_at) as last_asked_at
        from candidates
        where message_id is not null
        group by request_date, app_id, message_id
        having count(*) > 1
    ) as messages using (request_date, app_id, message_id)
    where asked.requested_at < messages.last_asked_at
    union
    -- a generation that was stopped, and its chat asked on at once
    select stopped.session_group, stopped.request_key
    from candidates as stopped
    inner join candidates as later using (request_date, app_id, chat_id)
    where
        stopped.is_stopped
        and later.requested_at > stopped.requested_at
        and later.requested_at <= stopped.requested_at
        + {{ llm_setting('retry_seconds') }} * interval '1 second'
{%- endmacro %}


{# How a request of fct_llm_requests ended: what failed was not stopped. #}
{% macro request_outcome(requests) -%}
    case
        when {{ has_failed(requests ~ '.status', requests ~ '.status_code') }} then 'failed'
        when {{ requests }}.stopped or {{ requests }}.status = 'stopped' then 'stopped'
        else 'succeeded'
    end
{%- endmacro %}


{# Whether nothing tells against a request. #}
{% macro went_well(outcome, asked_again, verdict) -%}
    ({{ outcome }} <> 'failed' and not {{ asked_again }} and {{ verdict }} <> 'negative')
{%- endmacro %}


{#
    What the models did on the days for which the condition on request_date holds, by app, provider, model and, with
    `day`, by UTC day. Shares, places and the best are those within the app, and the day.
#}
{% macro model_performance(condition, day=none) -%}
    {%- set among = ((day ~ ', ') if day else '') ~ 'app_id' -%}
    select
        -- ids
        {{ among }},
        provider,
        model,

        -- requests
        requests,
        {{ ratio('requests', 'sum(requests) over (partition by ' ~ among ~ ')') }} as request_share_rate,
        succeeded_requests,
        error_requests,
        {{ ratio('error_requests', 'requests') }} as error_rate,
        stopped_requests,
        {{ ratio('stopped_requests', 'requests') }} as stop_rate,
        regenerated_requests,
        {{ ratio('regenerated_requests', 'requests') }} as regenerate_rate,
        good_requests,
        {{ ratio('good_requests', 'requests') }} as quality_score,

        -- feedback
        positive_requests,
        negative_requests,
        {{ ratio('positive_requests', 'positive_requests + negative_requests') }} as satisfaction_rate,
        rated_requests,
        rating_sum,
        {{ ratio('rating_sum', 'rated_requests') }} as mean_rating,

        -- tokens
        uncached_input_tokens,
        cache_read_tokens,
        cache_write_tokens,
        output_tokens,
        reasoning_tokens,
        total_tokens,

        -- response time
        coalesce(timed_requests, 0) as timed_requests,
        latencies[1] as p50_latency_ms,
        latencies[2] as p95_latency_ms,
        latencies[3] as p99_latency_ms,

        -- cost
        priced_requests,
        requests - priced_requests as unpriced_requests,
        cost_usd,
        costed_tokens,
        costed_tokens_usd,
        {{ ratio('1000 * costed_tokens_usd', 'costed_tokens', 10) }} as cost_per_1k_tokens_usd,
        priced_succeeded_requests,
        {{ ratio('cost_usd', 'priced_succeeded_requests', 10) }} as cost_per_success_usd,
        priced_good_requests,
        efficiency_score,

        -- places
        {%- for name, column, direction in [
            ('requests', 'requests', 'desc'), ('quality', 'good_requests::numeric / requests', 'desc'),
            ('latency', 'latencies[2]', 'asc'), ('cost', 'cost_usd / nullif(priced_succeeded_requests, 0)', 'asc'),
            ('efficiency', 'efficiency_score', 'desc')
        ] %}
        case when {{ column }} is not null then
            rank() over (partition by {{ among }} order by {{ column }} {{ direction }} nulls last)
        end as {{ name }}_rank{{ ',' if not loop.last }}
        {%- endfor %}
    from (
        select
            *,
            case
                when cost_usd is null then null
                when priced_good_requests = 0 then 0
                when cost_usd <= 0 then case when priced_succeeded_requests > 0 then 1 end
                else {{ ratio(
                    'priced_good_requests / cost_usd',
                    'max(case when cost_usd > 0 then priced_good_requests / cost_usd end) over (partition by ' ~ among ~ ')'
                ) }}
            end as efficiency_score
        from (
            select
                {{ among }},
                provider,
                model,
                sum(requests)::bigint as requests,
                {%- for outcome, name in [('succeeded', 'succeeded'), ('failed', 'error'), ('stopped', 'stopped')] %}
                coalesce(sum(requests) filter (where outcome = '{{ outcome }}'), 0)::bigint as {{ name }}_requests,
                {%- endfor %}
                coalesce(sum(requests) filter (where was_asked_again), 0)::bigint as regenerated_requests,
                coalesce(sum(requests) filter (where went_well), 0)::bigint as good_requests,
                coalesce(sum(requests) filter (where verdict = 'positive'), 0)::bigint as positive_requests,
                coalesce(sum(requests) filter (where verdict = 'negative'), 0)::bigint as negative_requests,
                sum(rated_requests)::bigint as rated_requests,
                sum(rating_sum) as rating_sum,
                {%- for kind in ['uncached_input', 'cache_read', 'cache_write', 'output', 'reasoning', 'total'] %}
                sum({{ kind }}_tokens)::bigint as {{ kind }}_tokens,
                {%- endfor %}
                sum(priced_requests)::bigint as priced_requests,
                sum(cost_usd) as cost_usd,
                sum(costed_tokens)::bigint as costed_tokens,
                sum(costed_tokens_usd) as costed_tokens_usd,
                coalesce(sum(priced_requests) filter (where outcome = 'succeeded'), 0)::bigint
                    as priced_succeeded_requests,
                coalesce(sum(priced_requests) filter (where went_well), 0)::bigint as priced_good_requests
            from {{ ref('agg_llm_outcomes') }}
            where {{ condition }}
            group by {{ among }}, provider, model
        ) as counted
        -- percentiles do not add up: of the requests themselves
        left join (
            select
                {{ among }},
                coalesce(provider, 'unknown') as provider,
                coalesce(model, 'unknown') as model,
                count(*) as timed_requests,
                percentile_disc(array[0.5, 0.95, 0.99]) within group (order by latency_ms) as latencies
            from {{ ref('fct_llm_requests') }}
            where latency_ms is not null and {{ condition }}
            group by {{ among }}, coalesce(provider, 'unknown'), coalesce(model, 'unknown')
        ) as timed using ({{ among }}, provider, model)
    ) as scored
{%- endmacro %}


{#
    Joins to `requests`, rows of fct_llm_requests, the rates of another model: request_cost then prices their tokens by
    them. The kinds of tokens are those of the request itself, whatever the other model's provider counts as input.
#}
{% macro join_rates_of(provider, model) -%}
    cross join
        lateral (
            select
                coalesce(requests.cache_read_tokens, 0) as cache_read,
                coalesce(requests.cache_write_tokens, 0) as cache_write,
                coalesce(requests.cache_write_1h_tokens, 0) as cache_write_1h,
                coalesce(requests.reasoning_tokens, 0) as reasoning,
                coalesce(requests.input_audio_tokens, 0) as input_audio,
                coalesce(requests.output_audio_tokens, 0) as output_audio
        ) as told
    cross join
        lateral (
            select
                coalesce(requests.uncached_input_tokens, 0) as uncached,
                coalesce(requests.output_tokens, told.reasoning) as output
        ) as counted
    left join {{ ref('int_llm_rates') }} as rates
        on {{ model }} = rates.model
        and {{ provider }} = rates.provider
        and coalesce(requests.service_tier, '') = rates.service_tier
        and {{ rate_holds('requests.requested_at', 'counted.uncached + told.cache_read + told.cache_write') }}
{%- endmacro %}


{# Before requests are counted: the days of which a baseline's price, or what the baseline is, has changed. #}
{% macro touch_days_of_changed_baselines() %}
    {% if is_incremental() %}
        insert into ops.touched (target, kind, key)
        select distinct '{{ target_mark() }}', 'baseline_date', request_date::text
        from {{ this }}
        where
            exists (
                select from ops.touched
                where target = '{{ target_mark() }}' and kind = 'seed' and key = 'baseline_models'
            )
            or baseline_model in (
                select rates.model from {{ ref('int_llm_rates') }} as rates
                where rates.name_key in (
                    select key::uuid from ops.touched
                    where target = '{{ target_mark() }}' and kind = 'int_llm_rates.name_key'
                )
            )
    {% endif %}
{% endmacro %}
