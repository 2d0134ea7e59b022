{{ config(tags=['nightly']) }}

-- What the bounds of this target say, not the wall clock.
select bounds.as_of, {{ as_of() }} as got
from ops.bounds
where bounds.target = '{{ target_mark() }}' and bounds.as_of is not null and bounds.as_of <> {{ as_of() }}
