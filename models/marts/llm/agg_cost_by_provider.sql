{{ config(materialized='view') }}

{{ cost_by('provider') }}
