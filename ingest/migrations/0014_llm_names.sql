-- What prices a request, beside its tokens.
alter table raw.llm_requests
    add column service_tier text,
    add column cache_write_1h_tokens bigint,
    add column input_audio_tokens bigint,
    add column output_audio_tokens bigint,
    add column input_includes_cached boolean;
comment on column raw.llm_requests.service_tier is 'Variant of the price: batch, flex, priority, fast or as the producer calls it.';
comment on column raw.llm_requests.cache_write_1h_tokens is 'Of cache_write_tokens, those written for an hour.';
comment on column raw.llm_requests.input_audio_tokens is 'Of input_tokens, those of audio.';
comment on column raw.llm_requests.output_audio_tokens is 'Of output_tokens, those of audio.';
comment on column raw.llm_requests.input_includes_cached is 'Whether input_tokens hold those read from and written to a cache; null where the record''s form does not tell.';

-- Few names stand for many requests: which price each means is looked up once, not for each request.
create table ops.llm_names (
    name_key uuid primary key,
    provider text not null,
    model text not null,
    service_tier text not null
);
comment on table ops.llm_names is 'One row per provider, model and service tier that requests in raw have named; empty text where none is named. A name stays when its requests are purged.';

create function ops.llm_name_key(provider text, model text, service_tier text) returns uuid
language sql immutable parallel safe
return md5((coalesce(provider, ''), model, coalesce(service_tier, ''))::text)::uuid;
comment on function ops.llm_name_key is 'Hash of what a request says of its model; none and empty text are the same.';

insert into ops.llm_names
select distinct on (1) ops.llm_name_key(provider, model, service_tier), coalesce(provider, ''), model, coalesce(service_tier, '')
from (
    select provider, model, service_tier
    from raw.llm_requests where record_type = 'request' and not withheld
    union
    select request ->> 'provider', request ->> 'model', request ->> 'service_tier'
    from history.closed_requests
) as named
where model is not null;
