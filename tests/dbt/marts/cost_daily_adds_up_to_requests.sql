{{ config(tags=['nightly']) }}

-- To the cent: requests, tokens, unpriced requests and cost of each day and app are those of its requests and other costs.
{{ costs_add_up_to_requests() }}
