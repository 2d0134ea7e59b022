{{ config(materialized='view') }}

{{ cost_by('workspace_id') }}
