{{ config(tags=['nightly']) }}

-- Dollars to the cent, shares in percent, a count without a needless point.
with

cases (amount, unit, expected) as (
    values
    (4112.346::numeric, 'usd', '$4,112.35'),
    (0.05, 'usd', '$0.05'),
    (0.1234, 'share', '12.3 %'),
    (1234.5, 'ms', '1,235 ms'),
    (12, 'count', '12'),
    (1234567.25, 'count', '1,234,567.3'),
    (0, 'count', '0')
)

select * from cases
where {{ spoken('amount', 'unit') }} <> expected
