{# Whether a name in lower case fits a rule of the price list. #}
{% macro name_fits(kind, rule_text, name) -%}
    case {{ kind }}
        when 'equals' then {{ name }} = {{ rule_text }}
        when 'starts_with' then starts_with({{ name }}, {{ rule_text }})
        when 'ends_with' then right({{ name }}, length({{ rule_text }})) = {{ rule_text }}
        when 'contains' then strpos({{ name }}, {{ rule_text }}) > 0
        when 'regex' then {{ name }} ~ {{ rule_text }}
    end
{%- endmacro %}


{# A model's name with a date such as -20251211 written as -2025-12-11, the way the price list writes it. #}
{% macro with_dashed_date(name) -%}
    regexp_replace({{ name }}, '-(20\d{2})(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])(?=-|:|$)', '-\1-\2-\3', 'g')
{%- endmacro %}


{# Whether a name fits a pattern, as it is told or as the price list knows it; `*` is anything, no pattern fits any name. #}
{% macro fits_pattern(name, listed_name, pattern) -%}
    (
        {{ pattern }} is null
        or lower({{ name }}) like {{ like_pattern(pattern) }}
        or coalesce(lower({{ listed_name }}) like {{ like_pattern(pattern) }}, false)
    )
{%- endmacro %}


{# A pattern with `*` as one for `like`. #}
{% macro like_pattern(pattern) -%}
    replace(replace(replace(replace(lower({{ pattern }}), '\', '\\'), '%', '\%'), '_', '\_'), '*', '%')
{%- endmacro %}


{# Aggregate of the relation `spans`: of the most precise pattern, then the highest tier, then the latest start. #}
{% macro foremost(column, condition) -%}
    (
        array_agg(
            spans.{{ column }}
            order by spans.precision desc, spans.tier_start desc, spans.valid_from desc, spans.{{ column }}
        ) filter (where {{ condition }} and spans.{{ column }} is not null)
    )[1]
{%- endmacro %}


{# A column for each unit from rows with one unit each. #}
{% macro pivoted_prices(column) -%}
    {%- for unit in llm_units() %}
        max({{ column }}) filter (where unit = '{{ unit }}') as {{ unit }}_{{ column }}{{ ',' if not loop.last }}
    {%- endfor %}
{%- endmacro %}


{#
    Before names are looked up: where a seed that says what they mean or cost is another one, all of them are looked up
    again. Those that come out as before touch nothing below.
#}
{% macro touch_names_of_changed_seeds() %}
    {% if is_incremental() %}
        insert into ops.touched (target, kind, key)
        select distinct '{{ target_mark() }}', 'llm_name', name_key::text
        from {{ this }}
        where
            exists (
                select from ops.touched
                where
                    target = '{{ target_mark() }}' and kind = 'seed'
                    -- these say which names there are, not what they cost
                    and key not in ('baseline_models', 'what_if_models')
            )
            and not exists (
                select from ops.touched
                where target = '{{ target_mark() }}' and kind = 'llm_name' and key = name_key::text
            );
        -- thousands of names, where the planner still knows of none
        analyze ops.touched
    {% endif %}
{% endmacro %}


{# Before names are looked up: those that came along or are no more, and that no load tells of. #}
{% macro touch_names_listed_or_not() %}
    {% if is_incremental() %}
        insert into ops.touched (target, kind, key)
        select '{{ target_mark() }}', 'llm_name', name_key::text
        from {{ this }} as known
        full join {{ ref('stg_llm_names') }} as listed using (name_key)
        where known.model is null or listed.model is null
    {% endif %}
{% endmacro %}


{# Before requests are priced: those that changed rates cover, and no others, are priced anew. #}
{% macro touch_repriced_groups() %}
    {% if is_incremental() %}
        insert into ops.touched (target, kind, key)
        select distinct '{{ target_mark() }}', 'repriced_group', facts.session_group
        from {{ this }} as facts
        inner join {{ ref('int_llm_request_costs') }} as costs
            on facts.session_group = costs.session_group and facts.request_key = costs.request_key
        where
            exists (
                select from ops.touched where target = '{{ target_mark() }}' and kind = 'int_llm_rates.name_key'
            )
            and costs.name_key in (
                select key::uuid from ops.touched
                where target = '{{ target_mark() }}' and kind = 'int_llm_rates.name_key'
            )
            and (facts.price_version, facts.uncached_input_tokens, facts.output_tokens)
            is distinct from (costs.price_version, costs.uncached_input_tokens, costs.all_output_tokens)
    {% endif %}
{% endmacro %}


{# Whether a reported cost is so far from the computed one that somebody should look: over 1 % of it. #}
{% macro costs_disagree(reported, computed) -%}
    abs({{ reported }} - {{ computed }}) > 0.01 * {{ computed }}
{%- endmacro %}


{# The kinds of tokens that have prices, and the request itself: the units of the seed llm_prices. #}
{% macro llm_units() %}
    {% do return([
        'input', 'cache_read', 'cache_write', 'cache_write_1h', 'input_audio', 'output', 'reasoning', 'output_audio', 'request'
    ]) %}
{% endmacro %}


{#
    USD per token of each kind, and per request, null where nothing is priced. A kind without a price of its own costs
    what the kind does that holds it.
#}
{% macro rate_columns(column) -%}
    {%- set prefix = 'list_' if column == 'list_price' else '' -%}
    {%- set held_by = {
        'input': [], 'cache_read': ['input'], 'cache_write': ['input'], 'cache_write_1h': ['cache_write', 'input'],
        'input_audio': ['input'], 'output': [], 'reasoning': ['output'], 'output_audio': ['output'], 'request': []
    } -%}
    {%- for unit, holders in held_by.items() %}
        case
            when num_nonnulls({% for any_unit in held_by %}rates.{{ any_unit }}_{{ column }}{{ ', ' if not loop.last }}{% endfor %}) > 0
            then coalesce({% for one in [unit] + holders %}rates.{{ one }}_{{ column }}, {% endfor %}0) * {{ '0.001' if unit == 'request' else '0.000001' }}
        end as {{ prefix }}{{ unit }}_rate{{ ',' if not loop.last }}
    {%- endfor %}
{%- endmacro %}


{# The columns of rate_columns, by name. #}
{% macro rate_names(column) -%}
    {%- for unit in llm_units() -%}
        {{ 'list_' if column == 'list_price' }}{{ unit }}_rate{{ ', ' if not loop.last }}
    {%- endfor -%}
{%- endmacro %}


{#
    All input tokens of a request, cached ones counted once: whether input_tokens hold them is told by the record, else
    by the seed llm_token_rules. Where they are more than the input they cannot be part of it.
#}
{% macro all_input_tokens() -%}
    {{ uncached_tokens() }} + told.cache_read + told.cache_write
{%- endmacro %}


{# Of these those that were not cached. #}
{% macro uncached_tokens() -%}
    case
        when
            coalesce(requests.input_includes_cached, rates.input_includes_cached, true)
            and requests.input_tokens >= told.cache_read + told.cache_write
            then requests.input_tokens - told.cache_read - told.cache_write
        else coalesce(requests.input_tokens, 0)
    end
{%- endmacro %}


{# Whether a rate holds at a time, and for so many input tokens, cached ones among them: the size of the whole input prices the whole request. #}
{% macro rate_holds(at, input_tokens) -%}
    {{ at }} >= rates.valid_from and {{ at }} < rates.valid_to
    and (
        (rates.daily_from = '00:00' and rates.daily_to = '24:00')
        or (
            ({{ at }} at time zone 'UTC')::time >= rates.daily_from
            and ({{ at }} at time zone 'UTC')::time < rates.daily_to
        )
    )
    and (
        (rates.tier_start = 0 and rates.tier_end is null)
        or (
            {{ input_tokens }} > rates.tier_start - case when rates.tier_start = 0 then 1 else 0 end
            and {{ input_tokens }} <= coalesce(rates.tier_end, {{ input_tokens }})
        )
    )
{%- endmacro %}


{# What a request costs at the rates with this prefix, US dollars: each token in one kind. Null where there is no rate or no count. #}
{% macro request_cost(prefix) -%}
    case
        when num_nonnulls(requests.input_tokens, requests.output_tokens) > 0
            then
                -- what is left without audio, of which there is never more than there is of all
                greatest(counted.uncached - told.input_audio, 0) * rates.{{ prefix }}input_rate
                + greatest(counted.output - told.reasoning - told.output_audio, 0) * rates.{{ prefix }}output_rate
                + rates.{{ prefix }}request_rate
                -- few requests have any of these
                + case
                    when
                        told.cache_read + told.cache_write + told.reasoning + told.input_audio + told.output_audio > 0
                        then
                            told.cache_read * rates.{{ prefix }}cache_read_rate
                            + (told.cache_write - told.cache_write_1h) * rates.{{ prefix }}cache_write_rate
                            + told.cache_write_1h * rates.{{ prefix }}cache_write_1h_rate
                            + told.reasoning * rates.{{ prefix }}reasoning_rate
                            + least(told.input_audio, counted.uncached) * rates.{{ prefix }}input_audio_rate
                            + least(told.output_audio, counted.output - told.reasoning)
                            * rates.{{ prefix }}output_audio_rate
                    else 0
                end
    end
{%- endmacro %}


{# What a request is priced as: by the rates, or, of a closed visit, as it was when the visit was closed. #}
{% macro once_closed(expression, name, data_type) -%}
    case
        when requests.priced is null then {{ expression }}
        else {{ recorded_value('requests.priced', name, data_type) }}
    end
{%- endmacro %}
