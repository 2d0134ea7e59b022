-- What a router put aside is priced as well: the names that loads before this told.
insert into ops.llm_names (name_key, provider, model, service_tier)
select distinct on (1)
    ops.llm_name_key(named.provider, named.model, service_tier), coalesce(named.provider, ''), named.model,
    coalesce(service_tier, '')
from (
    select provider, baseline_model, service_tier
    from raw.llm_requests where record_type = 'request' and not withheld
    union
    select request ->> 'provider', request ->> 'baseline_model', request ->> 'service_tier'
    from history.closed_requests
) as told
cross join lateral (values (told.provider, told.baseline_model), (null, told.baseline_model)) as named (provider, model)
where named.model is not null
on conflict do nothing;
comment on table ops.llm_names is 'One row per provider, model and service tier that requests in raw have named, or that a router put aside, with the request''s provider and without one; empty text where none is named. A name stays when its requests are purged.';
