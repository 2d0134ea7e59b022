{{ config(materialized='view') }}

{{ cost_by('project_id') }}
