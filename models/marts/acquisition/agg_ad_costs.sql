{{
    config(
        meta={
            'touched': {'cost_date': ['agg_cost_charges.cost_date']},
            'touched_type': 'date'
        },
        indexes=[{'columns': ['cost_date']}]
    )
}}

with

lines as (
    select * from {{ ref('agg_cost_charges') }}
    where {{ where_touched('cost_date') }}
),

ad_lines as (
    select
        lines.cost_line_key,
        lines.cost_date,
        lines.app_id,
        lines.billed_cost_usd,
        {% for part in ['channel', 'source', 'medium', 'campaign'] -%}
        (
            select nullif(btrim(lines.tags ->> known.tag), '')
            from {{ ref('ad_cost_tags') }} as known
            where known.tells = '{{ part }}' and nullif(btrim(lines.tags ->> known.tag), '') is not null
            order by known.tag
            limit 1
        ) as {{ part }}{{ ',' if not loop.last }}
        {% endfor %}
    from lines
    inner join {{ ref('ad_cost_categories') }} as categories on lower(lines.category) = categories.category
),

origins as (
    select distinct
        app_id,
        {{ folded('source') }} as source,
        {{ folded('medium') }} as medium,
        {{ folded('campaign') }} as campaign,
        '' as referrer_domain,
        '' as click_id
    from ad_lines
),

channels as (
    {{ channels_of('origins') }}
),

named as (
    select
        ad_lines.*,
        coalesce(
            known.channel,
            case when coalesce(ad_lines.source, ad_lines.medium) is not null then channels.channel end,
            '(unattributed)'
        ) as cost_channel
    from ad_lines
    left join {{ ref('channels') }} as known on lower(ad_lines.channel) = lower(known.channel)
    left join channels
        on ad_lines.app_id = channels.app_id
        and {{ folded('ad_lines.source') }} = channels.source
        and {{ folded('ad_lines.medium') }} = channels.medium
        and {{ folded('ad_lines.campaign') }} = channels.campaign
)

select
    -- ids
    app_id,
    cost_date,
    cost_channel as channel,
    coalesce(source, '(not set)') as source,
    coalesce(medium, '(not set)') as medium,
    coalesce(campaign, '(not set)') as campaign,

    -- measures
    count(*) as cost_lines,
    count(*) filter (where billed_cost_usd is null) as unconverted_lines,
    sum(billed_cost_usd) as cost_usd
from named
group by
    app_id, cost_date, cost_channel, coalesce(source, '(not set)'), coalesce(medium, '(not set)'),
    coalesce(campaign, '(not set)')
