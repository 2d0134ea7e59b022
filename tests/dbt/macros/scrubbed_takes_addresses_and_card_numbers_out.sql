{{ config(tags=['nightly']) }}

-- What looks like a card or an address and is none stays: ids, times, hashes, handles.
with

cases (told, expected) as (
    values
    ('write to jo.doe+news@mail.example.co.uk, please', 'write to [email], please'),
    ('mailto:a@b.io', 'mailto:[email]'),
    ('/users/jo%40example.com/edit', '/users/[email]/edit'),
    ('@handle and a@b are none', '@handle and a@b are none'),
    ('paid with 4111 1111 1111 1111 today', 'paid with [card] today'),
    ('5500-0000-0000-0004', '[card]'),
    ('378282246310005', '[card]'),
    ('order 1772442235000, 9876543210987654321', 'order 1772442235000, 9876543210987654321'),
    ('a4111111111111111f', 'a4111111111111111f'),
    ('0.4111111111111111', '0.4111111111111111'),
    ('', ''),
    (null, null)
)

select *, {{ scrubbed('told') }} as got from cases
where {{ scrubbed('told') }} is distinct from expected
