{#
    Who reads what. Analysts and BI read every mart whole. Workspace readers read the marts that name a tenant, of those
    the rows that are theirs; a mart without a tenant's key is not granted to them.
#}

{# The columns of a mart that say whose a row is. #}
{% macro tenant_keys(node) %}
    {% set keys = [] %}
    {% for key in ['workspace_id', 'app_id', 'user_id', 'visitor_id'] if key in node.columns %}
        {% do keys.append(key) %}
    {% endfor %}
    {% do return(keys) %}
{% endmacro %}


{# Whether workspace readers may read a mart: it names a tenant and, being a view, reads only what they may read too. #}
{% macro is_for_workspaces(node) %}
    {% if node.resource_type == 'seed' %}
        {% do return('tidemark_workspace_reader' in node.config.grants.get('select', [])) %}
    {% endif %}
    {% if node.fqn[1] != 'marts' or not tenant_keys(node) %}
        {% do return(false) %}
    {% endif %}
    {% if node.config.materialized == 'view' %}
        {% for parent in node.depends_on.nodes if parent not in graph.nodes or not is_for_workspaces(graph.nodes[parent]) %}
            {% do return(false) %}
        {% endfor %}
    {% endif %}
    {% do return(true) %}
{% endmacro %}


{#
    Condition: a row is the reader's. A row that names a workspace is that workspace's; one that names none is the
    workspaces' that its app is given to. A person sees their own rows, a super-admin all.
#}
{% macro is_of_reader(keys) -%}
    (select ops.is_super_admin())
    {%- if 'workspace_id' in keys %}
    or workspace_id = any ((select ops.reader_workspaces())::text[])
    {%- endif %}
    {%- if 'app_id' in keys %}
    or {{ 'workspace_id is null and ' if 'workspace_id' in keys }}app_id = any ((select ops.reader_apps())::text[])
    {%- endif %}
    {%- if 'user_id' in keys %}
    or user_id = (select ops.reader_user())
    {%- elif 'visitor_id' in keys %}
    or visitor_id = (select ops.reader_visitor())
    {%- endif %}
{%- endmacro %}


{#
    After a mart is made anew: row-level security where it names a tenant, and only then the grant to workspace readers.
    A view reads with its reader's rights, so that the policies of what it reads hold.
#}
{% macro restrict_rows() %}
    {% set made_anew = model.config.materialized in ('view', 'table') or not is_incremental() %}
    {% if execute and made_anew and is_for_workspaces(model) %}
        {% if model.config.materialized == 'view' %}
            alter view {{ this }} set (security_invoker = true);
        {% else %}
            alter table {{ this }} enable row level security;
            create policy staff on {{ this }} for select
            to tidemark_analyst, tidemark_bi, tidemark_transformer using (true);
            create policy tenants on {{ this }} for select
            to tidemark_workspace_reader using ({{ is_of_reader(tenant_keys(model)) }});
        {% endif %}
        grant select on {{ this }} to tidemark_workspace_reader
    {% endif %}
{% endmacro %}


{# dbt takes back grants it finds and does not know; that to workspace readers stands with the policy of restrict_rows. #}
{% macro postgres__get_show_grant_sql(relation) -%}
    {{ dbt.postgres__get_show_grant_sql(relation) }}
    {%- if model.resource_type == 'model' %}
    and grantee <> 'tidemark_workspace_reader'
    {%- endif %}
{%- endmacro %}
