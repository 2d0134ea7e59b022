{{ config(materialized='view') }}

{{ cost_by('team_id') }}
