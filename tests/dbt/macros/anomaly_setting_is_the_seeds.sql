{{ config(tags=['nightly']) }}

-- What the seed says.
select value from {{ ref('anomaly_settings') }}
where setting = 'watched_days' and value <> {{ anomaly_setting('watched_days') }}
