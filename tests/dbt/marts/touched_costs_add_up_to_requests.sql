-- cost_daily_adds_up_to_requests for what a refresh touched: hourly, so no more than that is read.
{{ costs_add_up_to_requests(touched(['fct_llm_requests.request_date', 'agg_cost_charges.cost_date'])) }}
