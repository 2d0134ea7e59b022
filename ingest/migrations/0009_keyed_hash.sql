-- What stands for an e-mail address above raw: a hash nobody can make without the key.

create function ops.hmac_sha256(hash_key bytea, content bytea) returns bytea
language sql immutable strict parallel safe
return (
    select
        sha256(
            -- bit_send puts the length, four bytes, before the bits
            substring(bit_send(padded # ('x' || repeat('5c', 64))::bit(512)) from 5)
            || sha256(substring(bit_send(padded # ('x' || repeat('36', 64))::bit(512)) from 5) || content)
        )
    from (
        select
            ('x' || rpad(
                encode(case when octet_length(hash_key) > 64 then sha256(hash_key) else hash_key end, 'hex'), 128, '0'
            ))::bit(512) as padded
    ) as keys
);
comment on function ops.hmac_sha256(bytea, bytea) is 'HMAC-SHA-256 of content under hash_key (RFC 2104), 32 bytes, without an extension.';

-- A plain expression, so that it is inlined: without a key it costs next to nothing.
create function ops.keyed_hash(content text) returns text
language sql stable parallel safe
return case
    when current_setting('tidemark.hash_key', true) <> ''
        then encode(
            ops.hmac_sha256(
                convert_to(current_setting('tidemark.hash_key', true), 'UTF8'), convert_to(content, 'UTF8')
            ), 'hex'
        )
end;
comment on function ops.keyed_hash(text) is 'HMAC-SHA-256 of a text under the setting tidemark.hash_key, hexadecimal; null where no key is set. Set the key for the role that refreshes and for nobody else: alter role … set tidemark.hash_key = ''…''.';
