{# Name of the first click id in a query string; null where there is none. #}
{% macro click_id(query) -%}
    case
        when {{ query }} is not null
            then substring(
                lower({{ query }}) from '(?:^|&)(' || (
                    select string_agg(known.parameter, '|' order by known.parameter) from {{ ref('click_ids') }} as known
                ) || ')=[^&]'
            )
    end
{%- endmacro %}


{# A source, medium or campaign as rules compare it: lower case, without `www.`; empty where there is none. #}
{% macro folded(column) -%}
    coalesce(regexp_replace(lower(btrim({{ column }})), '^www\.', ''), '')
{%- endmacro %}


{#
    The channel of each row of `origins` by the first rule of the seed that fits. Its columns app_id, source, medium,
    campaign, referrer_domain and click_id are folded and never null, its rows distinct.
#}
{% macro channels_of(origins) -%}
    with

    hosts as (
        select source as host from {{ origins }}
        union
        select referrer_domain from {{ origins }}
    ),

    -- what may be listed of a.b.co.uk: itself, b.co.uk, co.uk, and b.* for a country's domain
    candidates as (
        select hosts.host, labels.place, label.spelling
        from hosts
        cross join lateral (
            select parts, place
            from (select string_to_array(hosts.host, '.') as parts) as split
            cross join lateral generate_series(1, greatest(cardinality(parts) - 1, 1)) as place
        ) as labels
        cross join lateral (
            select array_to_string(labels.parts[labels.place:], '.') as spelling
            union all
            select labels.parts[labels.place] || '.*'
            where array_to_string(labels.parts[labels.place + 1:], '.') ~ '^((com?|org|net)\.)?[a-z]{2}$|^com$'
        ) as label
    ),

    sites as (
        select distinct on (candidates.host) candidates.host, known.kind
        from candidates
        inner join {{ ref('referrer_sites') }} as known on candidates.spelling = known.site
        -- the longest, and a full name before one of any country
        order by candidates.host, candidates.place, known.site like '%.*'
    ),

    own as (
        select distinct known.app_id, candidates.host
        from candidates
        inner join {{ ref('own_domains') }} as known on candidates.spelling = known.domain
    ),

    described as (
        select
            origins.*,
            case
                when (origins.app_id, origins.source) in (select app_id, host from own)
                    or ('*', origins.source) in (select app_id, host from own) then 'own'
                else sources.kind
            end as source_kind,
            referrers.kind as referrer_kind,
            coalesce(known.kind, 'none') as click_id_kind
        from {{ origins }} as origins
        left join sites as sources on origins.source = sources.host
        left join sites as referrers on origins.referrer_domain = referrers.host
        left join {{ ref('click_ids') }} as known on origins.click_id = known.parameter
    )

    select distinct on (
        described.app_id, described.source, described.medium, described.campaign, described.referrer_domain,
        described.click_id
    )
        described.*,
        coalesce(rules.channel, 'Unassigned') as channel
    from described
    left join {{ ref('channel_rules') }} as rules
        on coalesce(described.source ~ rules.source_pattern, true)
        and coalesce(described.medium ~ rules.medium_pattern, true)
        and coalesce(described.campaign ~ rules.campaign_pattern, true)
        and (rules.source_kind is null or described.source_kind = rules.source_kind)
        and (rules.referrer_kind is null or described.referrer_kind = rules.referrer_kind)
        and (rules.click_id_kind is null or described.click_id_kind = rules.click_id_kind)
    order by
        described.app_id, described.source, described.medium, described.campaign, described.referrer_domain,
        described.click_id, rules.rule_order
{%- endmacro %}


{# One number of the seed `attribution_settings`. #}
{% macro attribution_setting(setting) -%}
    (select known.value from {{ ref('attribution_settings') }} as known where known.setting = '{{ setting }}')
{%- endmacro %}


{#
    Exactly 1 shared out in millionths by the largest remainder: each row of a group gets the whole millionths of its
    share, and those left over go one by one to the rows that lost most. Numbers are numeric, no digit is rounded away.
#}
{% macro apportioned(relation, weight, each, tie, share) -%}
    select
        cut.*,
        (
            cut.{{ share }}_units + case
                when row_number() over (partition by {{ each }} order by cut.{{ share }}_lost desc, {{ tie }})
                    <= 1000000 - sum(cut.{{ share }}_units) over (partition by {{ each }}) then 1
                else 0
            end
        ) * 0.000001 as {{ share }}
    from (
        select
            *,
            div({{ weight }} * 1000000, sum({{ weight }}) over (partition by {{ each }})) as {{ share }}_units,
            mod({{ weight }} * 1000000, sum({{ weight }}) over (partition by {{ each }})) as {{ share }}_lost
        from {{ relation }}
    ) as cut
{%- endmacro %}


{# Models of attribution, in the order in which they are shown. #}
{% macro attribution_models() -%}
    {% do return(['first_touch', 'last_touch', 'last_non_direct', 'linear', 'time_decay', 'position_based']) %}
{%- endmacro %}


{#
    Rows of `touches` with the credit of each by every model. A touch has session_group and conversion_id of its
    conversion, its touch_number among the touch_count of these, touched_at and is_passed_over.
#}
{% macro attribution_credits(touches) -%}
    with

    weighted as (
        select
            touches.*,
            -- the last touch that is not passed over; where all are, the last
            max(case when touches.is_passed_over then 0 else touches.touch_number end) over of_conversion as last_known,
            1::numeric as linear_weight,
            -- against the last touch, so that no weight vanishes because all are old
            round(
                power(
                    2::numeric,
                    -extract(epoch from max(touches.touched_at) over of_conversion - touches.touched_at)
                    / 86400 / {{ attribution_setting('half_life_days') }}
                ), 12
            ) as time_decay_weight,
            case
                when touches.touch_count = 1 then 1::numeric
                -- times the number of touches between, so that nothing is divided
                when touches.touch_number = 1
                    then {{ attribution_setting('first_share') }} * greatest(touches.touch_count - 2, 1)
                when touches.touch_number = touches.touch_count
                    then {{ attribution_setting('last_share') }} * greatest(touches.touch_count - 2, 1)
                else 1 - {{ attribution_setting('first_share') }} - {{ attribution_setting('last_share') }}
            end as position_based_weight
        from {{ touches }} as touches
        window of_conversion as (partition by touches.session_group, touches.conversion_id)
    ),

    by_rule as (
        select
            *,
            (touch_number = 1)::integer::numeric as first_touch_credit,
            (touch_number = touch_count)::integer::numeric as last_touch_credit,
            (touch_number = coalesce(nullif(last_known, 0), touch_count))::integer::numeric as last_non_direct_credit
        from weighted
    )

    {%- set relation = namespace(name='by_rule') %}
    {%- for model in ['linear', 'time_decay', 'position_based'] %},

    by_{{ model }} as (
        {{ apportioned(relation.name, model ~ '_weight', 'session_group, conversion_id', 'touch_number', model ~ '_credit') }}
    )
    {%- set relation.name = 'by_' ~ model %}
    {%- endfor %}

    select * from {{ relation.name }}
{%- endmacro %}


{# What agg_campaigns counts, in the order in which it is shown. #}
{% macro campaign_measures() -%}
    {% do return([
        'landing_page_views', 'leads', 'cta_clicks', 'signup_steps', 'newsletter_signups', 'referrals',
        'campaign_conversions'
    ]) %}
{%- endmacro %}
