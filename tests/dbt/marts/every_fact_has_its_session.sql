{{ config(tags=['nightly']) }}

-- A fact's visit exists, is the same person's, and was under way.
{{ facts_have_their_session() }}
