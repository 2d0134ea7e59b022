{{ config(materialized='view') }}

{{ cost_by('user_id') }}
