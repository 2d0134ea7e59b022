{# Who or what a cost line may name, and a request too: the line is then about the requests of those alone. #}
{% macro cost_scope() -%}
    {% do return(['app_id', 'user_id', 'workspace_id', 'project_id', 'team_id', 'feature_id', 'plan']) %}
{%- endmacro %}


{# Columns of a relation as a list, those of cost_scope by default. #}
{% macro columns_of(relation, names=none) -%}
    {%- for name in names or cost_scope() %}{{ relation }}.{{ name }}{{ ', ' if not loop.last }}{% endfor %}
{%- endmacro %}


{#
    The one way in which money is shared out, exactly: each row of `relation` gets its share of the group's `amount` by
    `weight`, cut off after ten decimals; what is left goes to the largest weight, ties to the first by `tie`.
    The weights of a group must not add up to zero.
#}
{% macro shared_out(relation, amount, weight, each, tie, share) -%}
    select
        cut.*,
        trim_scale(
            cut.{{ share }}_cut + case
                when row_number() over (partition by {{ each }} order by {{ weight }} desc, {{ tie }}) = 1
                    then {{ amount }} - sum(cut.{{ share }}_cut) over (partition by {{ each }})
                else 0
            end
        ) as {{ share }}
    from (
        select
            *,
            div(
                {{ amount }} * {{ weight }} * 10000000000,
                sum({{ weight }}) over (partition by {{ each }})
            ) * 0.0000000001 as {{ share }}_cut
        from {{ relation }}
    ) as cut
{%- endmacro %}


{# A model's name as invoices and requests are compared by: no provider's prefix, no date or version behind it. #}
{% macro bare_model(column) -%}
    regexp_replace(
        regexp_replace(lower({{ column }}), '^.*/', ''), '[-@](20\d\d-?\d\d-?\d\d|latest)$', ''
    )
{%- endmacro %}


{# Whether a statement speaks of what `item` is: of its model, and of every owner the statement names. #}
{% macro is_within(item, statement) -%}
    {{ item }}.bare_model = {{ statement }}.bare_model
    and coalesce({{ item }}.provider = {{ statement }}.provider, true)
    {%- for name in cost_scope() %}
    and coalesce({{ item }}.{{ name }} = {{ statement }}.{{ name }}, {{ statement }}.{{ name }} is null)
    {%- endfor %}
{%- endmacro %}


{# Before the days of statements are built: days on which a line and the request it names, or no longer names, stand apart. #}
{% macro touch_named_requests() %}
    {% if is_incremental() %}
        insert into ops.touched (target, kind, key)
        select '{{ target_mark() }}', 'int_cost_lines.cost_date', days.cost_date::text
        from (
            select requests.request_date as cost_date
            from {{ ref('fct_llm_requests') }} as requests
            where requests.request_id in (select key from {{ touched(['int_cost_lines.request_id']) }} as changed)
            union
            select lines.cost_date
            from {{ ref('int_cost_lines') }} as lines
            where lines.request_id in (
                select requests.request_id
                from {{ ref('fct_llm_requests') }} as requests
                where requests.request_date in (
                    select key::date from {{ touched(['fct_llm_requests.request_date']) }} as changed
                )
            )
            union
            select lines.cost_date
            from {{ ref('int_cost_lines') }} as lines
            where lines.charge_key in (
                select former.charge_key
                from {{ this }} as former
                where former.cost_date in (
                    select key::date from {{ touched(['fct_llm_requests.request_date']) }} as changed
                )
            )
            and lines.settles = 'request'
        ) as days
    {% endif %}
{% endmacro %}


{# Before charges are built: those of anonymous ids that turned out to be somebody else's. #}
{% macro touch_charges_of_aliases() %}
    {% if is_incremental() %}
        insert into ops.touched (target, kind, key)
        select distinct '{{ target_mark() }}', 'int_cost_lines.charge_key', lines.charge_key::text
        from {{ ref('int_cost_lines') }} as lines
        where lines.anonymous_id in (
            select key from {{ touched(['int_visitor_aliases.anonymous_id']) }} as changed
        )
    {% endif %}
{% endmacro %}


{# Cost of a day by one owner: what stands in agg_cost_daily, grouped by that column alone. #}
{% macro cost_by(column) -%}
    select
        -- ids
        cost_date,
        {{ column }},

        -- measures
        sum(requests)::bigint as requests,
        sum(unpriced_requests)::bigint as unpriced_requests,
        sum(cost_lines)::bigint as cost_lines,
        sum(unconverted_lines)::bigint as unconverted_lines,
        sum(total_tokens)::bigint as total_tokens,
        sum(cost_usd) as cost_usd
    from {{ ref('agg_cost_daily') }}
    group by cost_date, {{ column }}
{%- endmacro %}


{# What a unit of a currency was worth on a day, US dollars; null where the seed knows no rate. One rate at most, whatever the seed says: a join must not multiply money. #}
{% macro usd_per_unit(currency, day) -%}
    (
        select known.usd_per_unit
        from {{ ref('currency_rates') }} as known
        where
            known.currency = {{ currency }}
            and known.valid_from <= {{ day }}
            and {{ day }} < coalesce(known.valid_to, 'infinity')
        order by known.valid_from desc, known.usd_per_unit
        limit 1
    )
{%- endmacro %}
