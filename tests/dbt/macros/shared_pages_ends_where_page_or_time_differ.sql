{{ config(tags=['nightly']) }}

-- How many pages two paths begin with in common.
with

cases (name, path, timings, parent_path, parent_timings, expected) as (
    values
    ('the child went on', '{/a,/b,/c}', '{0,10,20}', '{/a,/b}', '{0,10}', 2),
    ('the parent went on', '{/a}', '{0}', '{/a,/b}', '{0,10}', 1),
    ('both went on', '{/a,/b,/c}', '{0,10,20}', '{/a,/b,/d}', '{0,10,20}', 2),
    ('same page at another time', '{/a,/b}', '{0,10}', '{/a,/b}', '{0,11}', 1),
    ('time missing on one side', '{/a,/b}', '{0}', '{/a,/b}', '{0,10}', 1),
    ('nothing', '{/a}', '{0}', '{/b}', '{0}', 0),
    ('a later page agrees again', '{/a,/x,/c}', '{0,10,20}', '{/a,/b,/c}', '{0,10,20}', 1),
    ('no path', '{}', '{}', '{/a}', '{0}', 0)
),

children as (
    select name, path::text[] as path_sequence, timings::bigint[] as path_timings from cases
),

parents as (
    select name, parent_path::text[] as path_sequence, parent_timings::bigint[] as path_timings from cases
)

select cases.*, {{ shared_pages('children', 'parents') }} as got
from cases
inner join children using (name)
inner join parents using (name)
where {{ shared_pages('children', 'parents') }} is distinct from cases.expected
