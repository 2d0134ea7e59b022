{{ config(tags=['nightly']) }}

-- A visit that names no user belongs to whoever its anonymous id was when it started.
{{ sessions_belong_to_whom_the_aliases_say() }}
