{{ config(materialized='view') }}

{{ model_performance('request_date between ' ~ utc_date(as_of()) ~ ' - 29 and ' ~ utc_date(as_of())) }}
