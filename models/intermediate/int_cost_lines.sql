{{
    config(
        meta={
            'touched': {'cost_id': ['cost']},
            'emits': ['cost_date', 'charge_key', 'request_id']
        },
        indexes=[
            {'columns': ['line_key', 'cost_date'], 'unique': true},
            {'columns': ['cost_id']},
            {'columns': ['cost_date']},
            {'columns': ['charge_key']},
            {'columns': ['request_id']},
            {'columns': ['anonymous_id']}
        ]
    )
}}

with

sent as (
    select *, coalesce(properties ->> 'updated_at', properties ->> 'updatedAt') as updated_at_text
    from {{ ref('stg_costs') }}
    where {{ where_touched_in_raw('cost_id', 'received_at', 'ops.cost_days', 'cost_id') }}
),

-- a line that was sent again corrects itself: the last by its own word counts
lines as (
    select distinct on (coalesce(app_id, 'default'), cost_id)
        *,
        md5((coalesce(app_id, 'default'), cost_id)::text)::uuid as line_key,
        -- longer than ten years is no period but a mistake
        request_id is null
        and period_end_at > period_start_at
        and period_end_at < period_start_at + interval '3653 days' as has_period
    from sent
    order by coalesce(app_id, 'default'), cost_id, updated_at_text desc nulls last, occurred_at desc, content_hash
),

dated as (
    select
        *,
        {{ utc_date('case when has_period then period_start_at else occurred_at end') }} as first_date,
        {{ utc_date("case when has_period then period_end_at - interval '1 microsecond' else occurred_at end") }}
            as last_date,
        {{ bare_model('model') }} as bare_model,
        -- the same money as requests: of the one it names, else of its model; a credit never is
        case
            when amount < 0 then null
            when request_id is not null then 'request'
            when model is null then null
            when has_period then 'period'
            else 'point'
        end as settles
    from lines
),

converted as (
    select dated.*, dated.amount * {{ usd_per_unit('dated.currency', utc_date('dated.occurred_at')) }} as amount_usd
    from dated
),

days as (
    select converted.*, day::date as cost_date
    from converted
    cross join lateral generate_series(first_date::timestamp, last_date::timestamp, interval '1 day') as day
),

in_currency as (
    {{ shared_out('days', 'amount', '1', 'line_key', 'cost_date', 'billed_amount') }}
),

in_dollars as (
    {{ shared_out('in_currency', 'amount_usd', '1', 'line_key', 'cost_date', 'cost_usd') }}
)

select
    -- ids
    line_key,
    cost_date,
    cost_id,
    case
        when settles = 'request' then md5('request|' || request_id)::uuid
        when settles is null then line_key
        else
            md5(
                concat_ws('|', settles, (first_date - date '1970-01-01'), (last_date - date '1970-01-01'))
                || (bare_model, lower(provider), {{ cost_scope() | join(', ') }})::text
            )::uuid
    end as charge_key,
    settles,
    case when settles = 'request' then request_id end as request_id,
    anonymous_id,
    {{ cost_scope() | join(',\n    ') }},

    -- what
    category,
    provider,
    service,
    model,
    bare_model,
    num_nonnulls(provider, {{ cost_scope() | join(', ') }}) as named_owners,
    last_date - first_date + 1 as period_days,
    coalesce(properties -> 'tags', '{}') as tags,

    -- times
    occurred_at,

    -- measures
    currency,
    billed_amount,
    cost_usd
from in_dollars
