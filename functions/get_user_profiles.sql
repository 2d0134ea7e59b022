begin
    if cardinality(ids) > 100 then
        raise invalid_parameter_value using message = format('ids may hold at most 100 ids, not %s', cardinality(ids));
    end if;
    return (
        select coalesce(jsonb_object_agg(requested.id, {{ profile('requested.id', 'visitors') }}), '{}')
        from (select distinct asked.id from unnest(ids) as asked (id)) as requested
        cross join lateral (
            {{ visitor_known_by('requested.id') }}
        ) as known
        inner join {{ stored(ref('agg_visitor_apps')) }} as visitors
            on known.visitor_id = visitors.visitor_id and visitors.app_id = app
    );
end
