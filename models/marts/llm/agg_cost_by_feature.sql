{{ config(materialized='view') }}

{{ cost_by('feature_id') }}
