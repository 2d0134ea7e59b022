{{ config(tags=['nightly']) }}

with

cases (bill, amount, weight, name, expected) as (
    values
    -- a third each: what is left goes to the first by name
    ('even', 1::numeric, 1, 'a', 0.3333333334),
    ('even', 1, 1, 'b', 0.3333333333),
    ('even', 1, 1, 'c', 0.3333333333),
    -- a credit likewise, the largest first
    ('credit', -1, 1, 'a', -0.1666666666),
    ('credit', -1, 1, 'b', -0.1666666666),
    ('credit', -1, 4, 'c', -0.6666666668),
    -- none of it to who did nothing
    ('zero', 0.07, 0, 'a', 0),
    ('zero', 0.07, 9, 'b', 0.07),
    ('nothing', 0, 3, 'a', 0),
    -- more digits than shares have
    ('fine', 0.000000000015, 1, 'a', 0.000000000015),
    ('fine', 0.000000000015, 1, 'b', 0),
    ('unknown', null, 1, 'a', null)
),

shares as (
    {{ shared_out('cases', 'amount', 'weight', 'bill', 'name', 'share') }}
)

select * from shares
where share is distinct from expected
