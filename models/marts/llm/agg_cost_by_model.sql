{{ config(materialized='view') }}

{{ cost_by('model') }}
