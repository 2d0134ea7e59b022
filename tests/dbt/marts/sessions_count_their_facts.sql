{{ config(tags=['nightly']) }}

-- A visit's counts are the numbers of its rows in the fact tables, while these are kept.
{{ sessions_count_their_facts() }}
