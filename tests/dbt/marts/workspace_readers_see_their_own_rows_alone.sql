{{ config(tags=['nightly']) }}

-- depends_on: {{ ref('fct_sessions') }}
-- a mart with a tenant's key and no policy, or one that workspace readers may read whole
select relation, problem
from ops.unprotected_marts('{{ ref("fct_sessions").schema }}')
