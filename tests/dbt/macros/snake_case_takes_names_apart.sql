{{ config(tags=['nightly']) }}

-- What is snake_case already stays; other styles become it.
with

cases (name, expected, is_snake) as (
    values
    ('message_sent', 'message_sent', true),
    ('step2_done', 'step2_done', true),
    ('buttonClicked', 'button_clicked', false),
    ('Page View', 'page_view', false),
    ('CTAClicked', 'cta_clicked', false),
    ('$pageview', 'pageview', false),
    ('checkout-completed', 'checkout_completed', false),
    ('_hidden', 'hidden', false),
    ('two__underscores', 'two_underscores', false),
    ('2nd_step', '2nd_step', false)
)

select *, {{ snake_case('name') }} as got from cases
where
    {{ snake_case('name') }} is distinct from expected
    or ({{ is_snake_case('name') }}) is distinct from is_snake
