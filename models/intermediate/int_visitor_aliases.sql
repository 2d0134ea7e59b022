{{
    config(
        meta={
            'touched': {'anonymous_id': ['int_identity_edges.anonymous_id']},
            'emits': ['anonymous_id']
        },
        indexes=[{'columns': ['anonymous_id', 'signed_in_at', 'user_id'], 'unique': true}]
    )
}}

with

edges as (
    select * from {{ ref('int_identity_edges') }}
    where {{ where_touched('anonymous_id') }}
),

ordered as (
    select
        *,
        lag(user_id) over by_time as user_before,
        row_number() over by_time as sign_in_number
    from edges
    window by_time as (partition by anonymous_id order by signed_in_at, user_id, evidence, session_group)
),

changes as (
    select * from ordered
    where sign_in_number = 1 or user_before <> user_id
),

-- before its first sign-in an anonymous id is already that user
final as (
    select
        anonymous_id,
        case when sign_in_number > 1 then signed_in_at end as valid_from,
        lead(signed_in_at) over (partition by anonymous_id order by sign_in_number) as valid_to,
        user_id,
        {{ visitor_id('user_id', 'null::text', 'null::text') }} as visitor_id,
        signed_in_at,
        evidence
    from changes
)

select * from final
