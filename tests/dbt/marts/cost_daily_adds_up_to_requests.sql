{{ config(tags=['nightly']) }}

-- To the cent: requests, tokens, unpriced requests and cost of each day and app are those of the ledger's lines.
{{ costs_add_up_to_requests() }}
