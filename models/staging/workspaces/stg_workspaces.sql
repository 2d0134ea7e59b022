with

workspaces as (
    select * from {{ source('raw', 'workspaces') }}
    where {{ is_published() }}
)

select
    -- ids
    workspace_id,
    content_hash,
    app_id,

    -- what
    {{ scrubbed('workspace_name') }} as workspace_name,
    plan,
    subscription_status,
    coalesce(properties ->> 'industry', properties ->> 'workspace_industry') as industry,
    {{ to_number(
        "coalesce(properties ->> 'member_count', properties ->> 'memberCount', properties ->> 'workspace_size')"
    ) }}::bigint as member_count,

    -- times
    created_at,
    -- a clock far ahead would make its version the newest for ever
    case when {{ is_credible('updated_at') }} then updated_at end as updated_at,
    (
        select max(greatest(subscription ->> 'created_at', subscription ->> 'updated_at') collate "C")
        from jsonb_path_query(properties, '$.workspace_subscriptions[*]') as subscription
    ) as subscribed_at_text
from workspaces
