-- Metrics are watched for a workspace too, not only for a whole app.

alter table history.closed_metric_values add column scope text not null default 'app', add column scope_value text;
update history.closed_metric_values set scope_value = app_id;
alter table history.closed_metric_values
    alter column scope drop default,
    alter column scope_value set not null,
    drop constraint closed_metric_values_pkey,
    add primary key (bucket_date, metric, scope, app_id, scope_value, bucket_at);
comment on column history.closed_metric_values.scope is 'app or workspace: whose measurements these are.';
comment on column history.closed_metric_values.scope_value is 'The app or the workspace.';
