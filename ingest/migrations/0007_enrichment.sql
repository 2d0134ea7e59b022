-- What user agents and addresses tell, looked up once each and kept apart from raw: it can be made anew at any time.

create function ops.user_agent_key(user_agent text) returns uuid
language sql immutable parallel safe
return md5(left(user_agent, 1000))::uuid;
comment on function ops.user_agent_key(text) is 'The key of ops.user_agents: a hash of the 1,000 characters that are read. Agents are never indexed themselves, they may be long.';

create function ops.ip_network(address inet) returns cidr
language sql immutable parallel safe
return case
    when family(address) = 4 then network(set_masklen(address, least(masklen(address), 24)))
    -- an IPv4 address written as an IPv6 one
    when address <<= inet '::ffff:0.0.0.0/96'
        then network(set_masklen(inet '0.0.0.0' + (host(address)::inet - inet '::ffff:0.0.0.0'), 24))
    else network(set_masklen(address, least(masklen(address), 48)))
end;
comment on function ops.ip_network(inet) is 'The network of 256 addresses (IPv6: /48) an address lies in: the key of ops.ip_locations. The network of a network is itself.';

create table ops.user_agents (
    user_agent_key uuid primary key,
    user_agent text not null,
    device_type text,
    device_brand text,
    browser_name text,
    browser_version text,
    os_name text,
    os_version text,
    is_bot boolean not null,
    version text not null,
    found_at timestamptz not null default clock_timestamp()
);
comment on table ops.user_agents is 'One row per user agent in raw: what it tells. Made by `python -m ingest enrich` and every refresh.';
comment on column ops.user_agents.user_agent is 'Its first 1,000 characters, which are all that is read.';
comment on column ops.user_agents.version is 'Of the rules it was read by: the library''s, and a checksum of the seeds device_rules and bot_agents.';

create table ops.ip_locations (
    ip_network cidr primary key,
    country_code text,
    city text,
    version text not null,
    found_at timestamptz not null default clock_timestamp()
);
comment on table ops.ip_locations is 'One row per network (/24, IPv6 /48) of an address in raw: where its first address lies. Never holds an address itself.';
comment on column ops.ip_locations.version is 'Kind, day and checksum of the database it was looked up in.';

create table ops.enrichment (
    kind text primary key,
    version text not null default '',
    published_seq bigint not null default 0
);
insert into ops.enrichment (kind) values ('user_agents'), ('ip_locations');
comment on table ops.enrichment is 'One row per kind: the load up to which it is complete, and the version of what every row of it was last looked up in.';
