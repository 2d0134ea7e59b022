{{ config(tags=['nightly']) }}

-- Every type a mart has comes back from jsonb as it was, scale, order and absence included.
with

cases as (
    select
        1.50::numeric as cost_usd,
        timestamptz '2026-03-31 23:59:59.123456+00' as ended_at,
        null::text as plan,
        array['b', 'a "quoted", {b}', 'b'] as pages,
        array[3, 1, 2]::bigint[] as timings,
        '{}'::text[] as features,
        '{"a": null}'::jsonb as metadata,
        null::jsonb as traits,
        true as converted
),

recorded as (
    select cases.*, to_jsonb(cases) as record from cases
)

select {{ recorded_columns({'plan': 'text', 'ended_at': 'timestamptz'}, 'record', ['plan']) }} from recorded
where
    {{ recorded_value('record', 'cost_usd', 'numeric') }}::text <> '1.50'
    or {{ recorded_value('record', 'ended_at', 'timestamptz') }} <> ended_at
    or {{ recorded_value('record', 'plan', 'text') }} is not null
    or {{ recorded_value('record', 'pages', 'text[]') }} <> pages
    or {{ recorded_value('record', 'timings', 'bigint[]') }} <> timings
    or {{ recorded_value('record', 'features', 'text[]') }} <> '{}'
    or {{ recorded_value('record', 'metadata', 'jsonb') }} <> metadata
    or {{ recorded_value('record', 'traits', 'jsonb') }} is not null
    or not {{ recorded_value('record', 'converted', 'boolean') }}
    or {{ recorded_value('record', 'unheard_of', 'boolean') }} is not null
