{{ config(tags=['nightly']) }}

-- Poisson of mean 1 from 5 on: 1 - 65/24 e^-1; of mean 10 up to 2: 61 e^-10. Negative binomial of mean 2 and
-- dispersion 2: its probability of i is (i + 1) / 2^(i + 2), from k on (k + 2) / 2^(k + 1). The rest by SciPy 1.17:
-- a mean of a hundredth, of a hundred thousand, a dispersion of 3.
with

cases (value, mean, dispersion, threshold, is_up, probability, bound) as (
    values
    (5, 1::double precision, 1::double precision, 0.01, true, 0.003659846827343713, 5),
    (2, 10, 1, 0.01, false, 0.0027693957155115762, 2),
    (20, 2, 2, 0.02, true, 22 / 2097152.0, 8),
    (0, 2, 2, 0.1, false, 0.25, null),
    (10, 0.01, 1, 1e-6, true, 2.7307942836962656e-27, 3),
    (102000, 100000, 1, 1e-6, true, 1.463450783724922e-10, 101508),
    (98000, 100000, 1, 1e-6, false, 1.1215994898264702e-10, 98499),
    (1000, 200, 3, 1e-6, true, 7.602682651144398e-81, 336)
)

select cases.value, cases.mean, cases.dispersion, tail.probability, tail.bound
from cases
cross join
    lateral {{ count_tail('value', 'mean', 'dispersion', 'threshold', 'is_up') }} as tail
where
    abs(tail.probability / cases.probability - 1) > 1e-9
    or tail.bound is distinct from cases.bound
