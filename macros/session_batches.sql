{# Sum of a {name: count} map. #}
{% macro counter_total(column) -%}
    (select coalesce(sum(counter.value::bigint), 0) from jsonb_each_text({{ column }}) as counter)
{%- endmacro %}


{# Of two {name: count} maps the lesser count of each name both have. #}
{% macro lesser_counters(left, right) -%}
    (
        select coalesce(jsonb_object_agg(ours.key, least(ours.value::bigint, theirs.value::bigint)), '{}')
        from jsonb_each_text({{ left }}) as ours
        inner join jsonb_each_text({{ right }}) as theirs on ours.key = theirs.key
    )
{%- endmacro %}


{# How many pages two paths begin with in common: same page, same time. #}
{% macro shared_pages(child, parent) -%}
    (
        select coalesce(min(place) - 1, least(cardinality({{ child }}.path_sequence), cardinality({{ parent }}.path_sequence)))
        from unnest(
            {{ child }}.path_sequence, {{ child }}.path_timings, {{ parent }}.path_sequence, {{ parent }}.path_timings
        ) with ordinality as told (child_page, child_timing, parent_page, parent_timing, place)
        where
            place <= least(cardinality({{ child }}.path_sequence), cardinality({{ parent }}.path_sequence))
            and (child_page <> parent_page or child_timing is distinct from parent_timing)
    )
{%- endmacro %}


{# Joins int_merged_groups and names the group that owns a row: the user's, where an anonymous one signed in. #}
{% macro owner_group(relation, merged='merged') -%}
    coalesce({{ merged }}.merged_group, {{ relation }}.session_group)
{%- endmacro %}


{# Milliseconds as an interval, kept between zero and a year: a broken clock must not break the arithmetic. #}
{% macro milliseconds(expression) -%}
    (least(greatest({{ expression }}, 0), 31536000000)::double precision * interval '1 millisecond')
{%- endmacro %}


{# A metadata key under either of its spellings; what is longer than ingest takes of an id is none. #}
{% macro metadata_value(snake_case, camel_case) -%}
    coalesce(
        case when length(metadata ->> '{{ snake_case }}') <= 255 then metadata ->> '{{ snake_case }}' end,
        case when length(metadata ->> '{{ camel_case }}') <= 255 then metadata ->> '{{ camel_case }}' end
    )
{%- endmacro %}


{# Of two maps {key: [time, snapshot, value]} the later telling of each key; at one time the greater snapshot's. #}
{% macro later_told(left, right) -%}
    (
        select jsonb_object_agg(last_told.key, last_told.value)
        from (
            select distinct on (pair.key) pair.key, pair.value
            from (
                select * from jsonb_each({{ left }})
                union all
                select * from jsonb_each({{ right }})
            ) as pair
            order by
                pair.key, (pair.value ->> 0)::timestamptz desc, (pair.value ->> 1)::bigint desc, pair.value -> 2
        ) as last_told
    )
{%- endmacro %}


{# When a batch began; a server's row begins at its first interaction. #}
{% macro batch_time() -%}
    coalesce(started_at, (llm_interactions -> 0 ->> 'timestamp')::timestamptz)
{%- endmacro %}


{# Newest goal, LLM interaction or error of a snapshot. Most have few of them: what is empty is not opened. #}
{% macro newest_item_time() -%}
    greatest(
        case
            when goal_events <> '{}'
                then (select max(goal.value::timestamptz) from jsonb_each_text(goal_events) as goal)
        end,
        case
            when llm_interactions <> '[]'
                then (
                    select max((entry.value ->> 'timestamp')::timestamptz)
                    from jsonb_array_elements(llm_interactions) as entry
                )
        end,
        case
            when error_events <> '[]'
                then (
                    select started_at + {{ milliseconds("max((entry.value ->> 'time')::numeric)") }}
                    from jsonb_array_elements(error_events) as entry
                )
        end
    )
{%- endmacro %}


{# Newest time a snapshot tells, by its start, its path or what happened in it: one broken clock spoils it. #}
{% macro newest_batch_time() -%}
    greatest(
        {{ batch_time() }},
        {{ newest_item_time() }},
        started_at + {{ milliseconds('path_timings[cardinality(path_timings)]') }}
    )
{%- endmacro %}
