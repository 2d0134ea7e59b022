{{ config(tags=['nightly']) }}

-- Visits of a group neither overlap nor stand closer than the gap, unless the cap cut them: without a gap between
-- them they are one run, whose start plus k caps is where it is cut, one visit in each piece.
{{ sessions_are_split_by_gap_and_cap() }}
