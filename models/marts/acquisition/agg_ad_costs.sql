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
    select lines.*
    from lines
    inner join {{ ref('ad_cost_categories') }} as categories on lower(lines.category) = categories.category
),

tags as (
    select ad_lines.cost_line_key, known.tag, known.tells, btrim(ad_lines.tags ->> known.tag) as value
    from ad_lines
    inner join {{ ref('ad_cost_tags') }} as known on btrim(ad_lines.tags ->> known.tag) <> ''
),

-- of several tags that tell the same, the first by name counts
places as (
    select
        cost_line_key,
        {% for part in ['channel', 'source', 'medium'] %}
        (array_agg(value order by tag) filter (where tells = '{{ part }}'))[1] as {{ part }},
        {% endfor %}
        (array_agg(value order by tag) filter (where tells = 'campaign'))[1] as campaign
    from tags
    group by cost_line_key
),

told as (
    select
        ad_lines.app_id,
        ad_lines.cost_date,
        ad_lines.billed_cost_usd,
        places.channel,
        places.source,
        places.medium,
        places.campaign
    from ad_lines
    left join places on ad_lines.cost_line_key = places.cost_line_key
),

origins as (
    select distinct
        app_id,
        {{ folded('source') }} as source,
        {{ folded('medium') }} as medium,
        {{ folded('campaign') }} as campaign,
        '' as referrer_domain,
        '' as click_id
    from told
),

channels as (
    {{ channels_of('origins') }}
),

named as (
    select
        told.*,
        coalesce(
            known.channel,
            case when coalesce(told.source, told.medium) is not null then channels.channel end,
            '(unattributed)'
        ) as cost_channel
    from told
    left join {{ ref('channels') }} as known on lower(told.channel) = lower(known.channel)
    left join channels
        on told.app_id = channels.app_id
        and {{ folded('told.source') }} = channels.source
        and {{ folded('told.medium') }} = channels.medium
        and {{ folded('told.campaign') }} = channels.campaign
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
