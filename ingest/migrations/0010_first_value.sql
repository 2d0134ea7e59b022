-- What the models call for every event of a full build, made cheap.

-- PostgreSQL 16 brought a function that keeps the first of two values; before, it is written here.
do $$
begin
    if current_setting('server_version_num')::integer >= 160000 then
        create aggregate ops.first_value(anyelement) (
            sfunc = any_value_transfn, stype = anyelement, parallel = safe
        );
    else
        create function ops.keep_first(anyelement, anyelement) returns anyelement
        language sql immutable strict parallel safe
        as 'select $1';
        create aggregate ops.first_value(anyelement) (
            sfunc = ops.keep_first, stype = anyelement, parallel = safe
        );
    end if;
end
$$;
comment on aggregate ops.first_value(anyelement) is 'The first value that is not null, in the order the call asks for: ops.first_value(x order by y). It keeps one value; array_agg keeps all.';

create or replace function ops.user_agent_key(user_agent text) returns uuid
language sql immutable parallel safe
-- counting the characters costs more than all else: only text of more bytes can have more
return md5(case when octet_length(user_agent) <= 1000 then user_agent else left(user_agent, 1000) end)::uuid;
