{{ config(materialized='view') }}

{{ cost_by('app_id') }}
