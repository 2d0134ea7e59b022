{{ config(materialized='view') }}

{{ cost_by('visitor_id') }}
