-- Without one of its thresholds a rule would say nothing and nobody would know why.
with

wanted (rule, threshold) as (
    values
    ('cheaper_model', 'window_days'), ('cheaper_model', 'minimum_requests'), ('cheaper_model', 'quality_tolerance'),
    ('cheaper_model', 'confidence_z'), ('cheaper_model', 'minimum_saving_rate'),
    ('cheaper_model', 'minimum_saving_usd'),
    ('cache', 'window_days'), ('cache', 'repeat_seconds'), ('cache', 'minimum_tokens'), ('cache', 'minimum_repeats'),
    ('cache', 'hit_rate'), ('cache', 'minimum_saving_usd'),
    ('slow_model', 'window_days'), ('slow_model', 'minimum_requests'), ('slow_model', 'latency_ratio'),
    ('slow_model', 'minimum_latency_ms'),
    ('unused_feature', 'window_days'), ('unused_feature', 'before_days'), ('unused_feature', 'minimum_sessions'),
    ('unused_feature', 'minimum_days'),
    ('error_hot_spot', 'window_days'), ('error_hot_spot', 'minimum_requests'), ('error_hot_spot', 'minimum_errors'),
    ('error_hot_spot', 'error_rate'),
    ('growth', 'window_days'), ('growth', 'minimum_sessions'), ('growth', 'growth_rate'),
    ('priority', 'high_saving_usd'), ('priority', 'medium_saving_usd'), ('priority', 'high_severity'),
    ('priority', 'medium_severity'),
    ('ai_impact', 'window_days'), ('ai_impact', 'minimum_visitor_days'), ('ai_impact', 'minimum_conversions')
)

select
    wanted.rule as wanted_rule,
    wanted.threshold as wanted_threshold,
    rules.rule,
    rules.threshold,
    rules.value
from wanted
full join {{ ref('recommendation_rules') }} as rules
    on wanted.rule = rules.rule and wanted.threshold = rules.threshold
where
    wanted.rule is null or rules.rule is null
    or rules.value < 0
    or (rules.threshold like '%days' and (rules.value < 1 or rules.value <> trunc(rules.value)))
    or (rules.threshold in ('hit_rate', 'error_rate', 'quality_tolerance') and rules.value > 1)
