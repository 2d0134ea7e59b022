-- What was said of a budget stays said: the alerts a target has given, beside marts that are computed anew.

create table ops.budget_alerts (
    target text not null,
    budget text not null,
    period text not null,
    period_start_date date not null,
    threshold_rate numeric not null,
    crossed_date date not null,
    amount_usd numeric not null,
    spent_usd numeric not null,
    given_at timestamptz not null,
    refresh_id bigint not null,
    primary key (target, budget, period, period_start_date, threshold_rate)
);
comment on table ops.budget_alerts is 'One row per target, budget, period and threshold: the first crossing a completed refresh saw. Written in the transaction that moves the mark, never changed, never written by dbt: a full build neither repeats nor forgets an alert.';
comment on column ops.budget_alerts.threshold_rate is 'Share of the budget that was reached, 0 to 1.';
comment on column ops.budget_alerts.crossed_date is 'Day whose costs brought the spend of the period there, as known when the alert was given.';
comment on column ops.budget_alerts.amount_usd is 'Amount of the budget then, US dollars.';
comment on column ops.budget_alerts.spent_usd is 'Spend of the period up to and with that day, as known then, US dollars.';
comment on column ops.budget_alerts.given_at is 'What "now" was for the refresh.';
