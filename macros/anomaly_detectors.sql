{#
    CTEs that end with `pasts`: observations beside what the eight weeks before them held. `checkpoints` has a row for each
    day of a series, so that a new bucket costs the same whatever the history.
#}
{% macro pasts_of(observations, checkpoints) -%}
days as (
    select
        days.series_key,
        days.bucket_date,
        count(days.total) over in_order as history_days,
        sum(days.known_buckets) over lately as lately_buckets,
        sum(days.total) over lately as lately_total,
        sum(days.total_of_squares) over lately as lately_total_of_squares,
        max(days.peak_level_deviation) over in_order as peak_level_deviation,
        max(days.peak_seasonal_residual) over in_order as peak_seasonal_residual,
        max(days.peak_smoothed_residual) over in_order as peak_smoothed_residual,
        max(days.peak_first_difference) over in_order as peak_first_difference
    from {{ checkpoints }} as days
    {{ look_back_from_touched('days', before=lookback_days()) }}
    window
        in_order as (
            partition by days.series_key order by days.bucket_date
            range between interval '{{ lookback_days() }} days' preceding and interval '1 day' preceding
        ),
        lately as (
            partition by days.series_key order by days.bucket_date
            range between interval '28 days' preceding and interval '1 day' preceding
        )
),

pasts as (
    select
        observations.*,
        days.history_days,
        days.lately_buckets,
        days.lately_total,
        days.lately_total_of_squares,
        {% for deviation in ['level_deviation', 'seasonal_residual', 'smoothed_residual', 'first_difference'] %}
        greatest(
            days.peak_{{ deviation }}, max(abs(observations.{{ deviation }})) over earlier_today
        ) as peak_{{ deviation }}{{ ',' if not loop.last }}
        {% endfor %}
    from {{ observations }} as observations
    inner join days
        on observations.series_key = days.series_key and observations.bucket_date = days.bucket_date
    window earlier_today as (
        partition by observations.series_key, observations.bucket_date order by observations.bucket_at
        rows between unbounded preceding and 1 preceding
    )
)
{%- endmacro %}


{# Whether an anomaly may lie above, or below, what is expected. #}
{% macro looks_up(direction='rules.direction') -%}
    {{ direction }} in ('above', 'both')
{%- endmacro %}


{% macro looks_down(direction='rules.direction') -%}
    {{ direction }} in ('below', 'both')
{%- endmacro %}


{# What every verdict consists of; `excess` is 1 at the bound and grows beyond it. #}
{% macro verdict_columns() -%}
    rule,
    series_key,
    bucket_at,
    current,
    expected,
    lower,
    upper,
    excess,
    judged_by
{%- endmacro %}


{# A bound that is given: so many in so many minutes, or a share below what is expected there. #}
{% macro fixed_threshold_verdicts(pasts, observations) -%}
    select {{ verdict_columns() }} from (
        select
            rules.rule,
            pasts.series_key,
            pasts.bucket_at,
            in_window.value as current,
            case when rules.drop_threshold_percent is null then 0 else in_window.expected end as expected,
            in_window.expected * (1 - rules.drop_threshold_percent / 100) as lower,
            rules.spike_threshold as upper,
            case
                when rules.spike_threshold is not null then in_window.value / rules.spike_threshold
                else (in_window.expected - in_window.value)
                    / nullif(in_window.expected * rules.drop_threshold_percent / 100, 0)
            end as excess,
            'threshold' as judged_by,
            rules.minimum_value,
            in_window.value as value
        from {{ pasts }} as pasts
        inner join rules on pasts.metric = rules.metric and rules.detector = 'fixed_threshold'
        cross join lateral (
            select
                case when rules.measure = 'mean' then avg(recent.value) else sum(recent.value) end as value,
                case when rules.measure = 'mean' then avg(recent.expected) else sum(recent.expected) end as expected
            from (
                select pasts.value, pasts.expected
                union all
                select before.value, before.expected
                from {{ observations }} as before
                where
                    rules.window_minutes > rules.grain_minutes
                    and before.series_day in (
                        pasts.series_day, {{ series_day('pasts.series_key', '(pasts.bucket_date - 1)') }}
                    )
                    and before.bucket_at < pasts.bucket_at
                    and before.bucket_at > pasts.bucket_at - rules.window_minutes * interval '1 minute'
            ) as recent
        ) as in_window
        where
            rules.drop_threshold_percent is null
            or (
                pasts.seasons * rules.season_days >= coalesce(rules.minimum_history_days, 0)
                and in_window.expected >= coalesce(rules.minimum_expected, 0)
                and in_window.expected > 0
            )
    ) as judged
    where excess >= 1 and value >= coalesce(minimum_value, value)
{%- endmacro %}


{# So many spreads from the median of the same hour of the week. #}
{% macro seasonal_baseline_verdicts(pasts) -%}
    select {{ verdict_columns() }} from (
        select
            rules.rule,
            pasts.series_key,
            pasts.bucket_at,
            pasts.value as current,
            pasts.expected,
            case when {{ looks_down() }} then pasts.expected - rules.threshold * floored.spread end as lower,
            case when {{ looks_up() }} then pasts.expected + rules.threshold * floored.spread end as upper,
            abs(pasts.value - pasts.expected) / nullif(rules.threshold * floored.spread, 0) as excess,
            'same hour' as judged_by
        from {{ pasts }} as pasts
        inner join rules on pasts.metric = rules.metric and rules.detector = 'seasonal_baseline'
        cross join lateral (
            select greatest(
                pasts.spread, rules.minimum_spread, rules.minimum_spread_rate * abs(pasts.expected)
            ) as spread
        ) as floored
        where
            pasts.seasons * rules.season_days >= coalesce(rules.minimum_history_days, 0)
            and pasts.expected >= coalesce(rules.minimum_expected, pasts.expected)
            and (
                ({{ looks_up() }} and pasts.value > pasts.expected and pasts.value >= coalesce(rules.minimum_value, pasts.value))
                or ({{ looks_down() }} and pasts.value < pasts.expected)
            )
    ) as judged
    where excess >= 1
{%- endmacro %}


{#
    A deviation so many times as large as any of the eight weeks before: from the level of the day before, from the same
    hour, that smoothed over two hours, and from the bucket before. A series that never moved has no measure to judge by.
#}
{% macro self_calibrating_verdicts(pasts) -%}
    select {{ verdict_columns() }} from (
        select distinct on (rules.rule, pasts.series_key, pasts.bucket_at)
            rules.rule,
            pasts.series_key,
            pasts.bucket_at,
            pasts.value as current,
            deviation.centre as expected,
            case when {{ looks_down() }} then deviation.centre - rules.threshold * deviation.peak end as lower,
            case when {{ looks_up() }} then deviation.centre + rules.threshold * deviation.peak end as upper,
            abs(deviation.amount) / (rules.threshold * deviation.peak) as excess,
            deviation.judged_by
        from {{ pasts }} as pasts
        inner join rules on pasts.metric = rules.metric and rules.detector = 'self_calibrating'
        cross join lateral (
            values
            ('level', pasts.level_deviation, pasts.usual_level, pasts.peak_level_deviation),
            ('same hour', pasts.seasonal_residual, pasts.expected, pasts.peak_seasonal_residual),
            ('two hours', pasts.smoothed_residual, pasts.expected, pasts.peak_smoothed_residual),
            (
                'difference', pasts.first_difference, pasts.value - pasts.first_difference,
                {{ anomaly_setting('difference_weight') }} * pasts.peak_first_difference
            )
        ) as deviation (judged_by, amount, centre, peak)
        where
            deviation.peak > 0
            and pasts.history_days >= coalesce(rules.minimum_history_days, 0)
            and (
                ({{ looks_up() }} and deviation.amount > 0 and pasts.value >= coalesce(rules.minimum_value, pasts.value))
                or ({{ looks_down() }} and deviation.amount < 0)
            )
            and deviation.centre >= coalesce(rules.minimum_expected, deviation.centre)
        order by rules.rule, pasts.series_key, pasts.bucket_at, excess desc, deviation.judged_by
    ) as judged
    where excess > 1
{%- endmacro %}


{#
    A count as improbable as `threshold`: by the exact tail of the Poisson distribution or, where the counts of the last
    four weeks vary more, of the negative binomial one. Where the same hour usually has more (or less) than the mean of all
    hours, its mean is taken: the rarer explanation is never preferred.
#}
{% macro count_tail_verdicts(pasts) -%}
    select {{ verdict_columns() }} from (
        select
            rules.rule,
            pasts.series_key,
            pasts.bucket_at,
            pasts.value as current,
            usual.mean::numeric as expected,
            case when not usual.is_up then tail.bound::numeric end as lower,
            case when usual.is_up then tail.bound::numeric end as upper,
            (ln(tail.probability) / ln(rules.threshold::double precision))::numeric as excess,
            'tail' as judged_by
        from {{ pasts }} as pasts
        inner join rules on pasts.metric = rules.metric and rules.detector = 'count_tail'
        cross join lateral (
            select
                -- half an event more than were seen: what never happened may still happen
                (pasts.lately_total::double precision + 0.5) / pasts.lately_buckets as all_hours,
                pasts.lately_total_of_squares::double precision / pasts.lately_buckets
                - power(pasts.lately_total::double precision / pasts.lately_buckets, 2) as variance
        ) as lately
        cross join lateral (
            select
                pasts.value > lately.all_hours as is_up,
                case
                    when pasts.value > lately.all_hours then greatest(lately.all_hours, pasts.expected)
                    else least(lately.all_hours, pasts.expected)
                end as mean,
                greatest(1, lately.variance / lately.all_hours) * (1 + 1.0 / pasts.lately_buckets) as dispersion
        ) as usual
        cross join lateral {{ count_tail('pasts.value', 'usual.mean', 'usual.dispersion', 'rules.threshold', 'usual.is_up') }} as tail
        where
            pasts.lately_buckets > 0
            and pasts.history_days >= coalesce(rules.minimum_history_days, 0)
            and usual.mean > 0
            and usual.mean >= coalesce(rules.minimum_expected, usual.mean)
            -- nothing nearer is improbable enough for any threshold: the tail need not be added up
            and abs(pasts.value - usual.mean) > 2 * sqrt(usual.mean * usual.dispersion)
            and (
                ({{ looks_up() }} and usual.is_up and pasts.value > usual.mean and pasts.value >= coalesce(rules.minimum_value, pasts.value))
                or ({{ looks_down() }} and not usual.is_up and pasts.value < usual.mean)
            )
    ) as judged
    where excess >= 1
{%- endmacro %}


{#
    The probability of a count as far out as this one, given mean and dispersion (variance over mean, 1 is Poisson), and
    the bound: the nearest count that is as improbable as `threshold`. Each probability comes from the logarithm of the one
    before it, and they are added up from the smallest on: neither a great count nor a small tail loses its digits. A
    negative binomial with mean m and dispersion d has q = 1 - 1/d and r = m / (d - 1); its next probability is
    q (r + i) / (i + 1) times the one of i; of Poisson it is m / (i + 1) times.
#}
{% macro count_tail(value, mean, dispersion, threshold, is_up) -%}
(
    with parameters as (
        select
            round({{ value }})::integer as value,
            {{ mean }}::double precision as mean,
            -- within a millionth of 1 it is Poisson
            case when {{ dispersion }} > 1.000001 then {{ dispersion }}::double precision end as dispersion
    ),

    steps as (
        select
            parameters.*,
            count_of,
            case
                when count_of = 0 and dispersion is null then -mean
                when count_of = 0 then -mean / (dispersion - 1) * ln(dispersion)
                when dispersion is null then ln(mean / count_of)
                else ln((1 - 1 / dispersion) * (mean / (dispersion - 1) + count_of - 1) / count_of)
            end as log_step
        from parameters
        cross join lateral generate_series(
            0,
            case
                when {{ is_up }}
                    then value + ceil(40 + 40 * sqrt(mean * coalesce(dispersion, 1)) + 40 * coalesce(dispersion, 1))::integer
                else value + ceil(mean)::integer
            end
        ) as count_of
    ),

    probabilities as (
        select *, exp(greatest(sum(log_step) over (order by count_of), -700)) as probability
        from steps
    ),

    tails as (
        select
            count_of,
            value,
            sum(probability) over (order by case when {{ is_up }} then -count_of else count_of end) as tail
        from probabilities
    )

    select
        least(max(tail) filter (where count_of = value), 1) as probability,
        case
            when {{ is_up }} then min(count_of) filter (where tail <= {{ threshold }})
            else max(count_of) filter (where tail <= {{ threshold }})
        end as bound
    from tails
)
{%- endmacro %}


{#
    CTEs that end with `contributors`: the parts (features, models, pages) of a bucket that moved it most, each beside what
    it usually is: its mean over the same hours of the seasons before, of the bucket's five largest parts of each kind.
#}
{% macro contributors_of(verdicts, values) -%}
told_parts as (
    select
        verdicts.rule,
        verdicts.series_key,
        verdicts.bucket_at,
        part.kind,
        part.name,
        -- of a mean: what a part adds to it beyond the expected
        case verdicts.measure
            when 'mean' then (part.amount - part.measurements * verdicts.expected) / verdicts.observations
            else part.amount
        end as amount,
        buckets.bucket_at = verdicts.bucket_at as is_now,
        sign(verdicts.current - verdicts.expected) as direction,
        greatest(verdicts.seasons, 1) as seasons
    from {{ verdicts }} as verdicts
    inner join {{ values }} as buckets
        on
            verdicts.series_key = buckets.series_key
            and buckets.bucket_at in (
                verdicts.bucket_at
                {%- for season in range(1, baseline_seasons() | int + 1) %},
                verdicts.bucket_at - {{ season }} * verdicts.season_days * interval '24 hours'
                {%- endfor %}
            )
    cross join
        lateral jsonb_to_recordset(buckets.parts) as part (kind text, name text, amount numeric, measurements bigint)
    where buckets.bucket_at = verdicts.bucket_at or verdicts.measure <> 'mean'
),

moved_parts as (
    select
        told_parts.rule,
        told_parts.series_key,
        told_parts.bucket_at,
        told_parts.kind,
        told_parts.name,
        coalesce(sum(told_parts.amount) filter (where told_parts.is_now), 0) as current,
        coalesce(sum(told_parts.amount) filter (where not told_parts.is_now), 0) / told_parts.seasons as usual,
        told_parts.direction
    from told_parts
    group by 1, 2, 3, 4, 5, 8, told_parts.seasons
),

ranked_parts as (
    select
        *,
        row_number() over (
            partition by rule, series_key, bucket_at, kind order by direction * (current - usual) desc, name
        ) as rank
    from moved_parts
    where direction * (current - usual) > 0
),

contributors as (
    select
        rule,
        series_key,
        bucket_at,
        jsonb_agg(
            jsonb_build_object(
                'kind', kind, 'name', name, 'current', trim_scale(round(current, 6)),
                'usual', trim_scale(round(usual, 6)), 'change', trim_scale(round(current - usual, 6))
            ) order by direction * (current - usual) desc, kind, name
        ) as contributors
    from ranked_parts
    where rank <= 3
    group by rule, series_key, bucket_at
)
{%- endmacro %}
